"""``models/`` of the two faces. Administrators may change what holds for all."""

from typing import Annotated

from fastapi import Query, Request

from services.api.completions.translation import to_model_body
from services.api.deps import AdminDep, CallerDep, StateDep
from services.api.routes.faces import FacedRouter, json_body
from services.api.routes.ignoring import read_model
from services.api.schemas.offered_models import (
    DefaultModelBody,
    DefaultModelRequest,
    EffectiveBody,
    FailedWorkerBody,
    ModelSettingsBody,
    ModelSettingsRequest,
    OfferedModelBody,
    OfferedModelsBody,
    SyncBody,
)
from services.api.sessions.offered import Choice, Selection
from shared.contracts.presets import ModelSettings
from shared.errors import ChatError
from shared.observability import audit

router = FacedRouter("/models", errors=(400, 401, 403, 404, 413, 503))


@router.get("", summary="List models with their settings", errors=(400, 503))
async def list_models(
    state: StateDep, caller: CallerDep, hidden: Annotated[bool, Query()] = False
) -> OfferedModelsBody:
    """What live workers offer; hidden ones with ``?hidden=true`` only."""
    selection = await state["models"].selection(
        caller.user_id, hidden=hidden, may_ask=caller.may_ask
    )
    return OfferedModelsBody(
        models=[_body(choice, selection) for choice in selection.choices],
        default_model=selection.default,
        preferred_model=selection.preferred,
    )


@router.post("/sync_models", summary="Have all workers list their engines now", errors=(401, 503))
async def sync_models(state: StateDep, caller: CallerDep) -> SyncBody:
    """Answers what that has changed, within 6 s; who asks while one runs gets its result."""
    try:
        synced = await state["syncing"].sync()
    except ChatError as error:
        _tell_of_sync(error.code)
        raise
    _tell_of_sync("failed" if synced.failed else audit.DONE)
    return SyncBody(
        added=[name for name in synced.added if caller.may_ask(name)],
        removed=[name for name in synced.removed if caller.may_ask(name)],
        updated=[name for name in synced.updated if caller.may_ask(name)],
        workers=synced.workers,
        failed=[FailedWorkerBody(worker=it.worker, error=it.error) for it in synced.failed],
    )


@router.put(
    "/default",
    summary="Choose the default model of all users",
    openapi_extra=json_body("DefaultModelRequest"),
)
async def put_default(request: Request, state: StateDep, admin: AdminDep) -> DefaultModelBody:
    """Null takes the choice back; the answer is what holds then."""
    wanted = await read_model(request, state, DefaultModelRequest)
    await state["models"].choose_default(wanted.model)
    selection = await state["models"].selection(admin.user_id, hidden=True)
    return DefaultModelBody(default_model=selection.default)


@router.put(
    "/{model_id:path}/settings",
    summary="Replace the settings of a model",
    openapi_extra=json_body("ModelSettingsRequest"),
)
async def put_settings(
    model_id: str, request: Request, state: StateDep, _admin: AdminDep
) -> ModelSettingsBody:
    """They hold for all users; a name may hold slashes, and stands with or without ``:latest``."""
    wanted = await read_model(request, state, ModelSettingsRequest)
    fields = wanted.model_dump(include=set(ModelSettingsRequest.model_fields))
    return _settings(await state["models"].configure(ModelSettings(model=model_id, **fields)))


def _tell_of_sync(outcome: str) -> None:
    audit.record("models.sync", actor=audit.ACTOR.get(), target="model:", outcome=outcome)


def _body(choice: Choice, selection: Selection) -> OfferedModelBody:
    model = to_model_body(choice.offer)
    return OfferedModelBody(
        id=model.id,
        display_label=model.displayLabel,
        context_length=model.contextLength,
        capabilities=model.capabilities,
        metadata=model.metadata,
        settings=_settings(choice.settings),
        effective=EffectiveBody(**choice.effective._asdict()),
        is_default=model.id == selection.default,
        is_preferred=model.id == selection.preferred,
    )


def _settings(settings: ModelSettings) -> ModelSettingsBody:
    return ModelSettingsBody(**settings.model_dump(exclude={"model"}))
