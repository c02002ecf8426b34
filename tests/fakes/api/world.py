"""The gateway's ports in memory, and a worker that is a function."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.access.departures import Departures
from services.api.access.key_ring import KeyRing
from services.api.background import Background
from services.api.completions.catalog import Catalog
from services.api.completions.draining import Drain
from services.api.ports.identity_provider import IdentityProvider
from services.api.settings import Settings
from services.api.world import World
from shared.contracts.chat import CompletionStatus, Failure, FinishReason, ToolCall, Usage
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from tests.fakes.api.application import Application
from tests.fakes.api.asking import FakeAsking
from tests.fakes.api.budgets import FakeCounters
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.history import NOON, FakeHistory
from tests.fakes.api.limits import FakeMeters, FakeSlots
from tests.fakes.api.ports import (
    FakeAnnouncements,
    FakeBacklog,
    FakeBroker,
    FakeClock,
    FakeDepths,
    FakeFeeds,
    FakeFrameLog,
    FakeJournal,
    FakeKeys,
    FakeKnownModels,
    FakeLive,
    FakeMailboxes,
    FakeQueue,
    FakeQueueNotes,
    FakeSettingsFeed,
    FakeTombstones,
    FakeTurns,
    FakeWatchers,
    FakeWorkers,
)
from tests.fakes.api.relisting import FakeRelisting
from tests.fakes.api.tickets import FakeTickets
from tests.fakes.api.worker import announcement, sse_event


class FakeWorld:
    """All ports, and what a worker does with a request: ``answer`` or a function of a test's."""

    def __init__(self) -> None:
        self.backlog = FakeBacklog()
        self.background = Background()
        self.broker = FakeBroker()
        self.clock = FakeClock()
        self.catalog = Catalog(self.clock, age=12)
        self.feeds = FakeFeeds()
        self.live = FakeLive()
        self.settings_feed = FakeSettingsFeed()
        self.frames = FakeFrameLog()
        self.history = FakeHistory()
        self.asking = FakeAsking(self.history)
        self.journal = FakeJournal()
        self.known_models = FakeKnownModels()
        self.mailboxes = FakeMailboxes()
        self.queue = FakeQueue()
        self.notes = FakeQueueNotes(self.queue)
        self.announcements = FakeAnnouncements(self.mailboxes)
        self.tombstones = FakeTombstones()
        self.keys = FakeKeys()
        self.tickets = FakeTickets()
        self.provider: IdentityProvider | None = None
        self.key_ring = KeyRing(self.clock, lambda: 1)
        self.departures = Departures()
        self.key_ring.replace({}, 1)
        self.meters = FakeMeters()
        self.counters = FakeCounters()
        self.slots = FakeSlots(self.clock)
        self.relisting = FakeRelisting(self.catalog)
        self.turns = FakeTurns()
        self.watchers = FakeWatchers()
        self.workers = FakeWorkers()
        self.depths = FakeDepths()
        self.drain = Drain()
        self.headers: dict[str, str] = {}

    def answer(
        self,
        *texts: str,
        status: CompletionStatus = CompletionStatus.COMPLETED,
        code: str | None = None,
        message: str = "it failed",
        param: str | None = None,
        tool_calls: list[ToolCall] | None = None,
        thinking: str = "",
        finish_reason: FinishReason | None = "stop",
        usage: Usage | None = None,
    ) -> None:
        """Let every request be answered like this, at once."""

        def serve(command: RunCompletion) -> None:
            end = CompletionCompleted(
                completion_id=command.completion_id,
                user_id=command.user_id,
                key_id=command.key_id,
                model=command.display_model,
                status=status,
                created_at=command.created_at,
                completed_at=NOON,
                text="".join(texts),
                thinking=thinking,
                tool_calls=tool_calls or [],
                finish_reason=finish_reason if status is CompletionStatus.COMPLETED else None,
                usage=usage,
                events=len(texts),
                error=Failure(code=code, message=message, param=param) if code else None,
                place=command.place,
            )
            self.journal.ends.setdefault(command.completion_id, end)
            box = self.mailboxes.boxes[command.completion_id]
            length = 0
            for index, text in enumerate(texts):
                length += len(text)
                body = sse_event(command, text)
                box.put(Frame(FrameKind.TOKENS, 1, index, 1, index + 1, length, 0, body))
            box.put(Frame(FrameKind.END, 1, len(texts), 0, 0, length, 0, end.to_bytes()))

        self.queue.on_request = serve

    @asynccontextmanager
    async def open(self, _settings: Settings) -> AsyncGenerator[World]:
        self.catalog.put(announcement())
        yield World(
            announcements=self.announcements,
            asking=self.asking,
            background=self.background,
            backlog=self.backlog,
            broker=self.broker,
            catalog=self.catalog,
            clock=self.clock,
            counters=self.counters,
            departures=self.departures,
            depths=self.depths,
            feeds=self.feeds,
            followed_frames=self.frames,
            frames=self.frames,
            history=self.history,
            journal=self.journal,
            known_models=self.known_models,
            mailboxes=self.mailboxes,
            keys=self.keys,
            key_ring=self.key_ring,
            live=self.live,
            marks=self.tombstones,
            meters=self.meters,
            notes=self.notes,
            provider=self.provider,
            queue=self.queue,
            relisting=self.relisting,
            settings_feed=self.settings_feed,
            tickets=self.tickets,
            slots=self.slots,
            tombstones=self.tombstones,
            turns=self.turns,
            watchers=self.watchers,
            workers=self.workers,
        )
        await self.background.aclose(1)


@asynccontextmanager
async def app_of(world: FakeWorld, settings: Settings) -> AsyncGenerator[ASGIApp]:
    """The gateway over ``world``, started, as an ASGI application."""
    app = Application(settings, world.drain, world.open)
    async with app.life(app.routes) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"] = dict(state)
            await app(scope, receive, send)

        yield with_state


@asynccontextmanager
async def client_of(
    world: FakeWorld, settings: Settings | None = None
) -> AsyncGenerator[httpx.AsyncClient]:
    """An HTTP client of the gateway over ``world``, without a network."""
    async with app_of(world, settings or quick_settings()) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client
