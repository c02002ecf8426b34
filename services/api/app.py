"""Composition root: ports into use cases, use cases into routes; nothing connects at import."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from services.api import error_handlers, openapi
from services.api.completions.draining import Drain
from services.api.completions.turn_lease import TurnLeases
from services.api.guard import Guard
from services.api.limits.headers import RATE_HEADERS
from services.api.metering import CountDep
from services.api.middleware import RequestContext
from services.api.routes import (
    api_keys,
    archive,
    budget,
    cancel,
    chat,
    completion,
    health,
    list_socket,
    models,
    offered_models,
    preferences,
    presets,
    sessions,
    sockets,
    status,
    tickets,
    turns,
    usage,
    user_data,
)
from services.api.schemas.errors import ErrorBody
from services.api.security_headers import SecurityHeaders
from services.api.settings import Settings
from services.api.streams.watching import Watching
from services.api.wiring import build_state, orphans_of
from services.api.world import OpenWorld, World, nats_world
from shared.errors import ChatError
from shared.tasks import end_tasks

log = structlog.stdlib.get_logger(__name__)

_EXPOSED = [
    "X-Completion-Id",
    "X-Request-Id",
    "Idempotency-Replayed",
    "X-Parley-Ignored",
    "X-Parley-Unavailable-Tools",
    "X-Message-Id",
    "X-User-Message-Id",
    "ETag",
    "X-Importable",
    "Retry-After",
    "X-Should-Retry",
    "WWW-Authenticate",
    "Retry-After-Ms",
    *RATE_HEADERS,
]

_AT_THE_DOOR: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 421, 429)
}
"""What the guard and the limits answer at any address."""


Life = Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]


def life_of(settings: Settings, drain: Drain, open_world: OpenWorld) -> Life:
    """What runs from the start of a gateway to its stop, and gives what its routes need."""

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            world = await _enter(stack, settings, open_world)
            leases = TurnLeases(
                world.turns,
                world.journal,
                orphans_of(settings, world),
                gone=world.departures.departing,
            )
            world.departures.call_when_begun(leases.user_gone)
            grace = settings.api.resume_grace.total_seconds()
            watching = Watching(world.watchers, world.clock, grace=grace)
            state = build_state(settings, world, leases, watching, drain)
            keeping = [
                asyncio.create_task(state["limits"].leases.keep(), name="renew-leases"),
                asyncio.create_task(leases.keep(), name="renew-turns"),
                asyncio.create_task(watching.keep(), name="say-who-watches"),
                asyncio.create_task(state["access"].refusals.keep(), name="tell-of-refusals"),
            ]
            try:
                yield dict(state)
            finally:
                await end_tasks(keeping)
                state["access"].refusals.close()

    return life


def create_app(
    settings: Settings, *, drain: Drain | None = None, open_world: OpenWorld = nats_world
) -> FastAPI:
    """The gateway.

    Args:
        settings: Read once by the caller.
        drain: What the server tells that it is stopping.
        open_world: Opens the ports; tests bring their own.
    """
    app = FastAPI(
        title="Parley",
        version="0.1.0",
        lifespan=life_of(settings, drain or Drain(), open_world),
        redirect_slashes=False,
        # FastAPI's pages load their assets from a CDN; /openapi.json is enough until we serve ours.
        docs_url=None,
        redoc_url=None,
    )
    for module in (health, sockets, list_socket):
        app.include_router(module.router)
    for counted in (chat, cancel, completion, models):
        app.include_router(counted.router, dependencies=[CountDep], responses=_AT_THE_DOOR)
    for faced in (
        archive,
        sessions,
        turns,
        usage,
        budget,
        status,
        presets,
        preferences,
        offered_models,
        api_keys,
        tickets,
        user_data,
    ):
        for router in faced.router.routers:
            app.include_router(router, dependencies=[CountDep], responses=_AT_THE_DOOR)
    error_handlers.install(app)
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]
    app.add_middleware(Guard)
    if settings.api.cors_origins:
        # Around the guard: a page reads why it was refused, and preflights carry no token.
        # Without credentials: what lets anybody in here is a header that a page sets itself.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
    app.add_middleware(RequestContext)
    app.add_middleware(SecurityHeaders)
    return app


async def _enter(stack: AsyncExitStack, settings: Settings, open_world: OpenWorld) -> World:
    try:
        return await stack.enter_async_context(open_world(settings))
    except ChatError as error:
        log.error("start_failed", error=error.message)  # noqa: TRY400 - a sentence, no traceback
        raise
    except Exception:
        log.exception("start_failed")
        raise
