"""Composition root: ports into use cases, use cases into routes; nothing connects at import."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from services.api import error_handlers, openapi
from services.api.cancellations import CANCEL_ANSWER, Cancellations
from services.api.cancelling import Cancelling
from services.api.choices import Choices
from services.api.completions import Completions
from services.api.deps import State
from services.api.draining import Drain
from services.api.following import Following
from services.api.guests import Guests
from services.api.health import Health
from services.api.idempotency import Idempotency
from services.api.lingering import Lingering
from services.api.middleware import RequestContext
from services.api.offered import OfferedModels
from services.api.orders import Patience, Timing
from services.api.presets import Presets
from services.api.queue_watch import QueueWatch
from services.api.resending import Resending
from services.api.routes import (
    cancel,
    chat,
    completion,
    health,
    models,
    offered_models,
    preferences,
    presets,
    sessions,
)
from services.api.running import Desk
from services.api.seating import Seating
from services.api.sessions import Sessions
from services.api.settings import Settings
from services.api.syncing import Syncing
from services.api.terminals import Terminals
from services.api.turn_lease import TurnLeases
from services.api.watching import Watching
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
    "Retry-After",
    "ETag",
]


def create_app(
    settings: Settings, *, drain: Drain | None = None, open_world: OpenWorld = nats_world
) -> FastAPI:
    """The gateway.

    Args:
        settings: Read once by the caller.
        drain: What the server tells that it is stopping.
        open_world: Opens the ports; tests bring their own.
    """
    draining = drain or Drain()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            world = await _enter(stack, settings, open_world)
            leases = TurnLeases(world.turns)
            grace = settings.api.resume_grace.total_seconds()
            watching = Watching(world.watchers, world.clock, grace=grace)
            keeping = [
                asyncio.create_task(leases.keep(), name="renew-turns"),
                asyncio.create_task(watching.keep(), name="say-who-watches"),
            ]
            try:
                yield dict(build_state(settings, world, leases, watching, draining))
            finally:
                await end_tasks(keeping)

    app = FastAPI(
        title="Parley",
        version="0.1.0",
        lifespan=lifespan,
        redirect_slashes=False,
        # FastAPI's pages load their assets from a CDN; /openapi.json is enough until we serve ours.
        docs_url=None,
        redoc_url=None,
    )
    for module in (chat, cancel, completion, models, health):
        app.include_router(module.router)
    for faced in (sessions, presets, preferences, offered_models):
        for router in faced.router.routers:
            app.include_router(router)
    error_handlers.install(app)
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]
    if settings.api.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
    app.add_middleware(RequestContext)
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


def build_state(
    settings: Settings, world: World, leases: TurnLeases, watching: Watching, drain: Drain
) -> State:
    """The use cases over the ports of ``world``."""
    api, deadlines = settings.api, settings.deadlines
    cancelling = Cancelling(
        world.tombstones,
        world.workers,
        world.queue,
        world.clock,
        patience=api.cancel_patience.total_seconds(),
    )
    terminals = Terminals(
        world.journal,
        world.announcements,
        world.background,
        world.clock,
        patience=api.cancel_patience.total_seconds(),
    )
    lingering = Lingering(
        watching,
        world.watchers,
        world.journal,
        world.clock,
        grace=api.resume_grace.total_seconds(),
        silence=api.silence.total_seconds(),
    )
    desk = Desk(
        mailboxes=world.mailboxes,
        journal=world.journal,
        queue=world.queue,
        notes=world.notes,
        line=QueueWatch(world.depths, world.background, world.clock),
        seating=Seating(world.history, leases),
        terminals=terminals,
        cancelling=cancelling,
        background=world.background,
        drain=drain,
        clock=world.clock,
        watching=watching,
        lingering=lingering,
        resending=Resending(world.workers, world.background),
    )
    patience = Patience(
        waiting=deadlines.waiting_deadline.total_seconds(),
        generating=deadlines.generating_deadline.total_seconds(),
        silence=api.silence.total_seconds(),
        mailbox_bytes=api.mailbox_bytes,
        grace=api.resume_grace.total_seconds(),
    )
    completions = Completions(
        desk,
        broker=world.broker,
        workers=world.workers,
        known_models=world.known_models,
        catalog=world.catalog,
        backlog=world.backlog,
        frames=world.frames,
        patience=patience,
    )
    cancellations = Cancellations(
        cancelling,
        world.notes,
        terminals,
        world.journal,
        world.background,
        world.clock,
        patience=CANCEL_ANSWER,
    )
    choices = Choices(world.asking, world.background, world.clock)
    return State(
        background=world.background,
        broker=world.broker,
        cancellations=cancellations,
        catalog=world.catalog,
        choices=choices,
        clock=world.clock,
        completions=completions,
        drain=drain,
        following=Following(
            desk,
            feeds=world.feeds,
            frames=world.followed_frames,
            guests=Guests(desk),
            patience=patience,
        ),
        idempotency=Idempotency(world.keys, world.marks, world.journal, world.clock),
        journal=world.journal,
        health=Health(world.broker, world.history, world.catalog),
        models=OfferedModels(world.catalog, world.known_models, choices, settings.llm),
        presets=Presets(world.asking),
        sessions=Sessions(world.history, leases, cancelling, world.background),
        syncing=Syncing(world.catalog, world.relisting, world.background, world.clock),
        timing=Timing(
            header_hold=api.header_hold.total_seconds(),
            ping_interval=api.ping_interval.total_seconds(),
            send_timeout=api.send_timeout.total_seconds(),
        ),
        body_timeout=api.body_timeout.total_seconds(),
        max_body_bytes=api.max_body_bytes,
    )
