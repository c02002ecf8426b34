"""Typed access to what the lifespan built; the only reader of ``request.state``."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Final, TypedDict, cast

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from services.api.access.caller import Caller
from services.api.access.gateway_access import GatewayAccess
from services.api.access.key_admin import KeyAdmin
from services.api.access.tickets import TicketOffice
from services.api.access.user_admin import UserAdmin
from services.api.background import Background
from services.api.completions.attaching import Starter
from services.api.completions.cancellations import Cancellations
from services.api.completions.catalog import Catalog
from services.api.completions.completions import Completions
from services.api.completions.draining import Drain
from services.api.completions.following import Following
from services.api.completions.idempotency import Idempotency
from services.api.completions.orders import Timing
from services.api.completions.permitted import Permitted
from services.api.completions.scope_keys import ANSWER_HEADERS, CALLER
from services.api.limits.limits import Limits
from services.api.ports.broker import Backlog, Broker, Clock, Journal
from services.api.ports.live import Live
from services.api.reports.accounting import Accounting
from services.api.reports.health import Health
from services.api.sessions.choices import Choices
from services.api.sessions.copying import Copying
from services.api.sessions.deleting import Deleting
from services.api.sessions.file_budget import FileBudget, Share
from services.api.sessions.offered import OfferedModels
from services.api.sessions.presets import Presets
from services.api.sessions.sessions import Sessions
from services.api.sessions.syncing import Syncing
from services.api.sessions.turns import Turns
from services.api.sessions.turnstile import Turnstile
from services.api.sockets.gate import SocketGate
from services.api.sockets.rooms import Rooms
from shared.contracts.ids import CompletionId, UserId
from shared.errors import PayloadTooLarge

_COMPLETION_ID: Final = b"x-completion-id"


class State(TypedDict):
    """What the lifespan yields."""

    access: GatewayAccess
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
    copying: Copying
    file_budget: FileBudget
    files: Turnstile
    following: Following
    health: Health
    idempotency: Idempotency
    journal: Journal
    key_admin: KeyAdmin
    limits: Limits
    live: Live
    rooms: Rooms
    sessions: Sessions
    sockets: SocketGate
    models: OfferedModels
    presets: Presets
    syncing: Syncing
    tickets: TicketOffice
    timing: Timing
    turns: Turns
    user_admin: UserAdmin
    body_deadline: float
    body_timeout: float
    max_body_bytes: int
    max_import_bytes: int


async def get_state(request: Request) -> State:
    """The objects of this gateway."""
    return cast("State", request.scope["state"])


async def get_caller(request: Request) -> Caller:
    """Who asks, as the guard in front of all routes has found out."""
    caller: Caller = request.scope[CALLER]
    return caller


async def get_greeted(request: Request) -> Caller | None:
    """Who asks at a health address; ``None`` is a stranger."""
    caller: Caller | None = request.scope[CALLER]
    return caller


async def get_admin(request: Request) -> Caller:
    """Who asks, if that is an administrator.

    Raises:
        NotPermitted: it is not.
    """
    caller = await get_caller(request)
    caller.must_be_admin()
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]
GreetedDep = Annotated[Caller | None, Depends(get_greeted)]
AdminDep = Annotated[Caller, Depends(get_admin)]


async def get_user(caller: CallerDep) -> UserId:
    """Whose sessions, presets and usage this is about."""
    return caller.user_id


StateDep = Annotated[State, Depends(get_state)]
UserDep = Annotated[UserId, Depends(get_user)]


async def get_share(state: StateDep, user: UserDep) -> AsyncGenerator[Share]:
    """What this request holds of the bytes of files; until its answer is out, however that ends."""
    share = Share(state["file_budget"], user)
    try:
        yield share
    finally:
        share.close()


ShareDep = Annotated[Share, Depends(get_share)]


def permitted(state: State, caller: Caller, completions: Starter) -> Permitted:
    """``completions`` as this caller may begin them."""
    return Permitted(caller, completions, state["access"].presence)


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
    """The whole body, of as many bytes as any may have.

    Raises:
        ChatError, HTTPException: see ``read_file``.
    """
    return await read_file(request, state, state["max_body_bytes"], None)


async def read_file(request: Request, state: State, limit: int, share: Share | None) -> bytes:
    """The whole body, of ``limit`` bytes at most, which ``share`` holds as they come.

    Raises:
        PayloadTooLarge: it is, or says that it is, longer than the limit.
        ChatError: see ``Share``.
        HTTPException: 408, nothing of it came for too long, or not all of it.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    if declared.isdigit() and share is not None:
        share.declare(int(declared))
    body = bytearray()
    clock = asyncio.get_running_loop().time
    last = clock() + state["body_deadline"]
    try:
        async with asyncio.timeout_at(min(last, clock() + state["body_timeout"])) as patience:
            async for part in request.stream():
                patience.reschedule(min(last, clock() + state["body_timeout"]))
                body += part
                if len(body) > limit:
                    raise _too_large(len(body), limit)
                if share is not None:
                    share.hold(len(body))
    except TimeoutError as error:
        # What comes later would be taken for the next request.
        raise HTTPException(408, headers={"Connection": "close"}) from error
    return bytes(body)


def _too_large(size: int, limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body has at least {size} bytes; the limit is {limit}.")


def if_match(request: Request) -> str | None:
    """What ``If-Match`` wants; ``None`` where it wants nothing, or anything that is there."""
    header = request.headers.get("if-match", "").strip()
    return header if header not in {"", "*"} else None
