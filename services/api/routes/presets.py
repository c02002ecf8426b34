"""``presets/``: templates of sessions. Who changes one may name the version that he has seen."""

from typing import Annotated, Final

from fastapi import Query, Request, Response

from services.api.deps import StateDep, UserDep
from services.api.routes.faces import FacedRouter, json_body
from services.api.routes.ignoring import read_model
from services.api.routes.preconditions import etag, wanted_version
from services.api.routes.sessions import tagged
from services.api.schemas.presets import (
    FromPresetRequest,
    PatchPresetRequest,
    PresetBody,
    PresetListBody,
    PresetRequest,
)
from services.api.schemas.sessions import SessionBody
from shared.contracts.history import SessionSettings
from shared.contracts.ids import UserId, parse_preset_id
from shared.contracts.presets import Preset, UpdatePreset
from shared.errors import InvalidRequest

router = FacedRouter("/presets", errors=(400, 404, 409, 412, 413, 503))

_MOST: Final = 200


@router.get("", summary="List presets", errors=(400, 503))
async def list_presets(
    state: StateDep,
    user: UserDep,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> PresetListBody:
    """The user's own and all public ones, by name."""
    page = await state["presets"].page(user, limit, cursor)
    return PresetListBody(
        presets=[_body(preset, user) for preset in page.presets], next_cursor=page.next_cursor
    )


@router.post(
    "",
    status_code=201,
    summary="Create a preset",
    openapi_extra=json_body("PresetRequest"),
    errors=(400, 413, 503),
)
async def create_preset(
    request: Request, response: Response, state: StateDep, user: UserDep
) -> PresetBody:
    """Private unless it says ``public``."""
    wanted = await read_model(request, state, PresetRequest)
    preset = await state["presets"].create(
        user,
        wanted.settings(),
        name=wanted.name,
        description=wanted.description,
        public=wanted.public,
    )
    return _tagged(response, preset, user)


@router.get("/{preset_id}", summary="Read a preset", errors=(400, 404, 503))
async def get_preset(
    preset_id: str, response: Response, state: StateDep, user: UserDep
) -> PresetBody:
    """The user's own, or a public one."""
    return _tagged(response, await state["presets"].get(user, _parse(preset_id)), user)


@router.put("/{preset_id}", summary="Replace a preset", openapi_extra=json_body("PresetRequest"))
async def replace_preset(
    preset_id: str, request: Request, response: Response, state: StateDep, user: UserDep
) -> PresetBody:
    """What the body leaves out has no value afterwards."""
    parsed = _parse(preset_id)
    wanted = await read_model(request, state, PresetRequest)
    settings = wanted.settings()
    command = UpdatePreset(
        user_id=user,
        preset_id=parsed,
        name=wanted.name,
        description=wanted.description,
        public=wanted.public,
        settings=settings,
        cleared=[name for name in SessionSettings.model_fields if getattr(settings, name) is None],
        version=wanted_version(request, wanted.version),
    )
    return _tagged(response, await state["presets"].update(command), user)


@router.patch(
    "/{preset_id}", summary="Change a preset", openapi_extra=json_body("PatchPresetRequest")
)
async def change_preset(
    preset_id: str, request: Request, response: Response, state: StateDep, user: UserDep
) -> PresetBody:
    """What the body leaves out stays; null takes a setting's value away."""
    parsed = _parse(preset_id)
    wanted = await read_model(request, state, PatchPresetRequest)
    command = UpdatePreset(
        user_id=user,
        preset_id=parsed,
        name=wanted.name,
        description=wanted.description,
        public=wanted.public,
        settings=wanted.settings(),
        cleared=wanted.cleared(),
        version=wanted_version(request, wanted.version),
    )
    return _tagged(response, await state["presets"].update(command), user)


@router.delete(
    "/{preset_id}", status_code=204, summary="Delete a preset", errors=(400, 404, 412, 503)
)
async def delete_preset(
    preset_id: str, request: Request, state: StateDep, user: UserDep
) -> Response:
    """Sessions that were made from it keep their settings."""
    parsed = _parse(preset_id)
    await state["presets"].delete(user, parsed, wanted_version(request, None))
    return Response(status_code=204)


@router.post(
    "/{preset_id}/create_session_from_preset",
    status_code=201,
    summary="Create a session from a preset",
    openapi_extra=json_body("FromPresetRequest", required=False),
    errors=(400, 404, 413, 503),
)
async def create_session_from_preset(
    preset_id: str, request: Request, state: StateDep, user: UserDep
) -> SessionBody:
    """It gets a copy of the settings: later changes of the preset do not reach it."""
    parsed = _parse(preset_id)
    wanted = await read_model(request, state, FromPresetRequest, empty=b"{}")
    title = wanted.title.strip() if wanted.title is not None else ""
    return tagged(request, await state["presets"].session(user, parsed, title or None))


def _parse(preset_id: str) -> str:
    parsed = parse_preset_id(preset_id)
    if parsed is None:
        raise InvalidRequest("A preset id is a UUID.", param="preset_id")
    return parsed


def _tagged(response: Response, preset: Preset, user: UserId) -> PresetBody:
    response.headers["ETag"] = etag(preset.version)
    return _body(preset, user)


def _body(preset: Preset, user: UserId) -> PresetBody:
    return PresetBody(**preset.model_dump(exclude={"owner_id"}), mine=preset.owner_id == user)
