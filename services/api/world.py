"""Everything outside that the use cases talk to: over NATS in earnest, fakes in tests."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from services.api.access.departures import Departures
from services.api.access.key_ring import KeyRing
from services.api.adapters.http_identity_provider import HttpIdentityProvider
from services.api.adapters.nats_backlog import NatsBacklog
from services.api.adapters.nats_budgets import NatsCounters
from services.api.adapters.nats_catalog import NatsCatalogFeed
from services.api.adapters.nats_connection import NatsConnection
from services.api.adapters.nats_feeds import NatsFeeds
from services.api.adapters.nats_history import NatsHistory
from services.api.adapters.nats_inbox import NatsInbox
from services.api.adapters.nats_journal import (
    NatsFrameLog,
    NatsJournal,
    NatsQueue,
    NatsTombstones,
)
from services.api.adapters.nats_key_ring import NatsKeyFeed, connection_of
from services.api.adapters.nats_keys import NatsKeys
from services.api.adapters.nats_limits import NatsMeters, NatsSlots
from services.api.adapters.nats_live import NatsLive
from services.api.adapters.nats_queue_notes import (
    NatsAnnouncements,
    NatsDepths,
    NatsQueueNotes,
)
from services.api.adapters.nats_relisting import NatsRelisting
from services.api.adapters.nats_settings_feed import NatsSettingsFeed
from services.api.adapters.nats_tickets import NatsTickets
from services.api.adapters.nats_turns import NatsTurns
from services.api.adapters.nats_watchers import NatsWatchers
from services.api.adapters.nats_workers import NatsWorkers
from services.api.background import Background
from services.api.completions.catalog import Catalog
from services.api.ports.broker import (
    Backlog,
    Broker,
    Clock,
    FrameLog,
    Journal,
    KnownModels,
    Mailboxes,
    Queue,
    Tombstones,
    Workers,
)
from services.api.ports.budgets import CounterStore
from services.api.ports.identity_provider import IdentityProvider
from services.api.ports.keys import Keys, Marks
from services.api.ports.limits import MeterStore, Slots
from services.api.ports.live import Live, SettingsFeed
from services.api.ports.queue import Announcements, Depths, QueueNotes
from services.api.ports.relisting import Relisting
from services.api.ports.sessions import Asking, History, Turns
from services.api.ports.tickets import Tickets
from services.api.ports.viewers import Feeds, Watchers
from services.api.settings import Settings
from shared.clock import utc_now
from shared.contracts import subjects
from shared.contracts.identities import Identity
from shared.errors import BrokerUnavailable
from shared.messaging.connection import build_broker
from shared.messaging.jetstream import JetStream
from shared.tasks import end_tasks

log = structlog.stdlib.get_logger(__name__)

_AFTER_DEADLINES: Final = 60.0
_LAST_WORDS: Final = 3.0
"""Seconds for cancels and ends that are on their way at the stop."""


class LoopClock:
    """The event loop's time, which its timers use too."""

    def __init__(self) -> None:
        # Looked up once: it is asked several times per token.
        self.monotonic = asyncio.get_running_loop().time

    def now(self) -> datetime:
        """Wall-clock time in UTC."""
        return utc_now()


@dataclass(frozen=True)
class World:
    """The ports."""

    announcements: Announcements
    asking: Asking
    background: Background
    backlog: Backlog
    broker: Broker
    catalog: Catalog
    clock: Clock
    counters: CounterStore
    departures: Departures
    depths: Depths
    feeds: Feeds
    followed_frames: FrameLog
    frames: FrameLog
    history: History
    journal: Journal
    known_models: KnownModels
    key_ring: KeyRing
    keys: Keys
    live: Live
    mailboxes: Mailboxes
    marks: Marks
    meters: MeterStore
    notes: QueueNotes
    provider: IdentityProvider | None
    queue: Queue
    relisting: Relisting
    settings_feed: SettingsFeed
    tickets: Tickets
    slots: Slots
    tombstones: Tombstones
    turns: Turns
    watchers: Watchers
    workers: Workers


OpenWorld = Callable[[Settings], AbstractAsyncContextManager[World]]


@asynccontextmanager
async def nats_world(settings: Settings) -> AsyncGenerator[World]:
    """Connect, prove the inbox, listen to the catalog; closes what it opened.

    Raises:
        BrokerUnavailable: no broker within the start-up timeout, or one that refuses the key.
    """
    broker = build_broker(settings.nats, Identity.GATEWAY)
    try:
        async with asyncio.timeout(settings.api.startup_timeout.total_seconds()):
            client = await broker.connect()
    except (TimeoutError, OSError) as error:
        message = f"No NATS server answers at {settings.nats.url}."
        raise BrokerUnavailable(message) from error
    timeout = settings.nats.request_timeout.total_seconds()
    jetstream = JetStream(client, timeout=timeout)
    background, clock = Background(), LoopClock()
    catalog = Catalog(clock, age=settings.api.catalog_age.total_seconds())
    feed = NatsCatalogFeed(client, jetstream, catalog)
    inbox, feeds = NatsInbox(client), NatsFeeds(client)
    backlog, live = NatsBacklog(jetstream), NatsLive(client, inbox.gateway_id)
    key_ring = KeyRing(clock, lambda: connection_of(client))
    departures, settings_feed = Departures(), NatsSettingsFeed(client)
    key_feed = NatsKeyFeed(client, jetstream, key_ring, departures)
    refreshed = [
        feed.refresh, key_feed.refresh, feeds.prove, live.prove, settings_feed.prove
    ]  # fmt: skip
    connection = NatsConnection(client, inbox, on_connected=refreshed)
    deadlines = settings.deadlines.waiting_deadline + settings.deadlines.generating_deadline
    marks_ttl = deadlines.total_seconds() + _AFTER_DEADLINES
    tombstones = NatsTombstones(jetstream, ttl=marks_ttl)
    history = NatsHistory(client, timeout=timeout)
    watches: list[asyncio.Task[None]] = []
    try:
        await feed.open()
        await key_feed.open()
        await connection.begin()
        await settings_feed.open()
        watches = [
            asyncio.create_task(connection.watch(), name="watch-connection"),
            asyncio.create_task(backlog.watch(), name="watch-backlog"),
            asyncio.create_task(key_feed.watch(), name="watch-keys"),
        ]
        yield World(
            announcements=NatsAnnouncements(client),
            asking=history,
            background=background,
            backlog=backlog,
            broker=connection,
            catalog=catalog,
            clock=clock,
            counters=NatsCounters(jetstream),
            departures=departures,
            depths=NatsDepths(jetstream),
            feeds=feeds,
            followed_frames=NatsFrameLog(jetstream, subjects.followed),
            frames=NatsFrameLog(jetstream, inbox.reply_subject),
            history=history,
            journal=NatsJournal(jetstream),
            known_models=feed,
            live=live,
            key_ring=key_ring,
            keys=NatsKeys(jetstream, ttl=settings.api.idempotency_ttl.total_seconds()),
            mailboxes=inbox,
            marks=tombstones,
            meters=NatsMeters(jetstream),
            notes=NatsQueueNotes(client, jetstream, ttl=marks_ttl),
            provider=_provider(settings),
            queue=NatsQueue(jetstream),
            relisting=NatsRelisting(client),
            settings_feed=settings_feed,
            tickets=NatsTickets(jetstream),
            slots=NatsSlots(jetstream),
            tombstones=tombstones,
            turns=NatsTurns(jetstream, running=marks_ttl + _AFTER_DEADLINES),
            watchers=NatsWatchers(client, inbox.gateway_id),
            workers=NatsWorkers(client),
        )
    finally:
        await background.aclose(_LAST_WORDS)
        await end_tasks(watches)
        await inbox.close()
        await feed.close()
        await key_feed.close()
        await settings_feed.close()
        await broker.stop()


def _provider(settings: Settings) -> IdentityProvider | None:
    oidc = settings.oidc
    return HttpIdentityProvider(oidc.issuer, oidc.jwks_url) if oidc.issuer is not None else None
