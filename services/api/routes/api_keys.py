"""``keys/``: API keys of all users, for administrators."""

from typing import Annotated, Final

from fastapi import Query, Request, Response

from services.api.access.key_admin import Wish
from services.api.deps import AdminDep, StateDep
from services.api.routes.faces import FacedRouter, json_body
from services.api.routes.ignoring import read_model
from services.api.schemas.api_keys import (
    KeyListBody,
    KeyRequest,
    NewKeyBody,
    key_body,
    new_key_body,
)
from shared.contracts.ids import UserId
from shared.errors import InvalidRequest

router = FacedRouter("/keys", errors=(400, 401, 403, 404, 503))

_MOST: Final = 200


@router.get("", summary="List API keys")
async def list_keys(
    state: StateDep,
    _admin: AdminDep,
    user: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> KeyListBody:
    """The oldest first, of one user or of all; also those that were revoked or have expired."""
    if "\0" in (user or "") + (cursor or ""):
        raise InvalidRequest("Text must not hold the character U+0000.")
    whose = UserId(user) if user is not None else None
    page = await state["key_admin"].page(whose, limit, cursor)
    return KeyListBody(keys=[key_body(key) for key in page.keys], next_cursor=page.next_cursor)


@router.post(
    "",
    status_code=201,
    summary="Create an API key",
    openapi_extra=json_body("KeyRequest"),
    errors=(400, 401, 403, 409, 413, 503),
)
async def create_key(request: Request, state: StateDep, _admin: AdminDep) -> NewKeyBody:
    """The answer is the only place where the key ever stands.

    While everything of its user is being removed there is none (409 `user_leaving`).
    """
    wanted = await read_model(request, state, KeyRequest)
    wish = Wish(
        UserId(wanted.user),
        name=wanted.name,
        admin=wanted.admin,
        models=wanted.models,
        requests_per_minute=wanted.requests_per_minute,
        concurrent=wanted.concurrent,
        tokens_per_month=wanted.tokens_per_month,
        money_per_month=wanted.money_per_month,
        expires_at=wanted.expires_at,
    )
    made = await state["key_admin"].create(wish)
    return new_key_body(made.key, made.secret)


@router.delete("/{key_id}", status_code=204, summary="Revoke an API key")
async def revoke_key(key_id: str, state: StateDep, _admin: AdminDep) -> Response:
    """It lets nobody in any more, at any gateway, within a second; twice is harmless."""
    if "\0" in key_id:
        raise InvalidRequest("Text must not hold the character U+0000.", param="id")
    await state["key_admin"].revoke(key_id)
    return Response(status_code=204)
