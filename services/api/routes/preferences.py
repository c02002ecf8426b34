"""``preferences/``: what a user wants where neither request nor session says."""

from fastapi import Request

from services.api.deps import StateDep, UserDep
from services.api.routes.faces import FacedRouter, json_body
from services.api.routes.ignoring import read_model
from services.api.schemas.presets import PreferencesBody, PreferencesRequest
from shared.contracts.presets import Preferences

router = FacedRouter("/preferences", errors=(400, 413, 503))


@router.get("", summary="Read the user's preferences", errors=(503,))
async def get_preferences(state: StateDep, user: UserDep) -> PreferencesBody:
    """Null where the user prefers nothing."""
    return _body(await state["choices"].read_preferences(user))


@router.put(
    "",
    summary="Replace the user's preferences",
    openapi_extra=json_body("PreferencesRequest"),
)
async def put_preferences(request: Request, state: StateDep, user: UserDep) -> PreferencesBody:
    """What the body leaves out has no value afterwards."""
    wanted = (await read_model(request, state, PreferencesRequest)).settings()
    preferences = Preferences(**wanted.model_dump())
    return _body(await state["choices"].set_preferences(user, preferences))


@router.patch(
    "",
    summary="Change the user's preferences",
    openapi_extra=json_body("PreferencesRequest"),
)
async def change_preferences(request: Request, state: StateDep, user: UserDep) -> PreferencesBody:
    """What the body leaves out stays; null takes a preference away."""
    wanted = await read_model(request, state, PreferencesRequest)
    changed = await state["choices"].change_preferences(user, wanted.settings(), wanted.cleared())
    return _body(changed)


def _body(preferences: Preferences) -> PreferencesBody:
    return PreferencesBody(**preferences.model_dump())
