"""Typed access to what the lifespan built; the only reader of ``request.state``."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Final, TypedDict, cast

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from services.api.access.caller import LOCAL_CALLER, Caller
from services.api.background import Background
from services.api.completions.cancellations import Cancellations
from services.api.completions.catalog import Catalog
from services.api.completions.completions import Completions
from services.api.completions.draining import Drain
from services.api.completions.following import Following
from services.api.completions.idempotency import Idempotency
from services.api.completions.orders import Timing
from services.api.completions.scope_keys import ANSWER_HEADERS
from services.api.ports.broker import Backlog, Broker, Clock, Journal
from services.api.ports.live import Live
from services.api.reports.accounting import Accounting
from services.api.reports.health import Health
from services.api.sessions.choices import Choices
from services.api.sessions.deleting import Deleting
from services.api.sessions.offered import OfferedModels
from services.api.sessions.presets import Presets
from services.api.sessions.sessions import Sessions
from services.api.sessions.syncing import Syncing
from services.api.sessions.turns import Turns
from services.api.sockets.gate import SocketGate
from services.api.sockets.rooms import Rooms
from shared.contracts.ids import CompletionId, UserId
from shared.errors import PayloadTooLarge

_COMPLETION_ID: Final = b"x-completion-id"


class State(TypedDict):
    """What the lifespan yields."""

    accounting: Accounting
    background: Background
    backlog: Backlog
    broker: Broker
    cancellations: Cancellations
    catalog: Catalog
    choices: Choices
    clock: Clock
    completions: Completions
    deleting: Deleting
    drain: Drain
    following: Following
    health: Health
    idempotency: Idempotency
    journal: Journal
    live: Live
    rooms: Rooms
    sessions: Sessions
    sockets: SocketGate
    models: OfferedModels
    presets: Presets
    syncing: Syncing
    timing: Timing
    turns: Turns
    body_timeout: float
    max_body_bytes: int


def get_state(request: Request) -> State:
    """The objects of this gateway."""
    return cast("State", request.scope["state"])


def get_caller(_request: Request) -> Caller:
    """Who asks: with ``API_AUTH=local`` everyone is one user, and any token is ignored."""
    return LOCAL_CALLER


CallerDep = Annotated[Caller, Depends(get_caller)]


def get_user(caller: CallerDep) -> UserId:
    """Whose sessions, presets and usage this is about."""
    return caller.user_id


StateDep = Annotated[State, Depends(get_state)]
UserDep = Annotated[UserId, Depends(get_user)]


def add_headers(request: Request, headers: Mapping[str, str]) -> None:
    """Let the answer carry ``headers``, whether it becomes a success or an error."""
    request.scope[ANSWER_HEADERS].extend(
        (name.lower().encode(), value.encode()) for name, value in headers.items()
    )


def name_completion(request: Request, completion_id: CompletionId) -> None:
    """Let the answer say whose it is; the last word counts."""
    headers = request.scope[ANSWER_HEADERS]
    headers[:] = [header for header in headers if header[0] != _COMPLETION_ID]
    headers.append((_COMPLETION_ID, completion_id.encode()))


async def read_body(request: Request, state: State) -> bytes:
    """The whole body.

    Raises:
        PayloadTooLarge: it is, or says that it is, longer than the limit.
        HTTPException: 408, nothing of it came for too long.
    """
    limit = state["max_body_bytes"]
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    body = bytearray()
    try:
        async with asyncio.timeout(state["body_timeout"]) as patience:
            clock = asyncio.get_running_loop().time
            async for part in request.stream():
                patience.reschedule(clock() + state["body_timeout"])
                body += part
                if len(body) > limit:
                    raise _too_large(len(body), limit)
    except TimeoutError as error:
        # What comes later would be taken for the next request.
        raise HTTPException(408, headers={"Connection": "close"}) from error
    return bytes(body)


def _too_large(size: int, limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body has at least {size} bytes; the limit is {limit}.")
