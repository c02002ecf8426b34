"""Composition root of the history service; nothing connects before the app starts."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

import structlog
from faststream import FastStream
from nats.aio.client import Client

from services.history.adapters.mongo_client import MongoClient, create_indexes, open_client
from services.history.adapters.mongo_keys import MongoKeyStore
from services.history.adapters.mongo_messages import MongoMessageStore
from services.history.adapters.mongo_presets import MongoPresetStore
from services.history.adapters.mongo_purges import MongoPurgeMarks
from services.history.adapters.mongo_sessions import MongoSessionStore
from services.history.adapters.mongo_settings import MongoSettingsStore
from services.history.adapters.mongo_terms import MongoTerms
from services.history.adapters.mongo_turns import MongoTurnStore
from services.history.adapters.mongo_usage import MongoUsageStore
from services.history.adapters.nats_consumer import NatsConsumer
from services.history.adapters.nats_events import NatsDeadLetters, NatsEventLog
from services.history.adapters.nats_key_copies import NatsKeyCopies
from services.history.adapters.nats_teller import NatsTeller
from services.history.api_keys import ApiKeys
from services.history.background import Background, again_and_again, until_done
from services.history.changing import Changing
from services.history.copying import Copying
from services.history.freshness import Freshness
from services.history.handlers import build_router
from services.history.health import Health
from services.history.intake import Intake
from services.history.key_copying import KeyCopying
from services.history.key_operations import key_operations
from services.history.news import News, TurnNews
from services.history.ports import TurnStore
from services.history.preferences import KeptSettings
from services.history.preset_operations import preset_operations
from services.history.presets import Presets
from services.history.purger import Purger
from services.history.reading import Reading
from services.history.recorder import Recorder
from services.history.retention import Retention
from services.history.searching import Searching
from services.history.session_operations import session_operations
from services.history.sessions import Sessions
from services.history.settings import Settings
from services.history.spending import Spending
from services.history.sweeper import Sweeper
from services.history.tree_reading import TreeReading
from services.history.usage import UsageReports
from services.history.usage_operations import usage_operations
from services.history.user_operations import user_operations
from services.history.wiring_purges import Purges
from shared.clock import utc_now
from shared.contracts.identities import Identity
from shared.messaging.connection import build_broker
from shared.messaging.jetstream import JetStream
from shared.observability.logging import READY

_RETENTION_INTERVAL = 3600.0
_KEYS_INTERVAL = 1.0
_RETRY = 0.5

log = structlog.stdlib.get_logger(__name__)

WrapStore = Callable[[TurnStore], TurnStore]


def as_it_is(turns: TurnStore) -> TurnStore:
    """Nothing around it."""
    return turns


class _History:
    """The objects of one running service, and the order in which they start and stop."""

    def __init__(
        self, settings: Settings, client: Client, mongo: MongoClient, wrap: WrapStore
    ) -> None:
        options = settings.history
        database = mongo[options.database]
        timeout = settings.nats.request_timeout.total_seconds()
        jetstream = JetStream(client, timeout=timeout)
        turns, store = wrap(MongoTurnStore(database)), MongoSessionStore(database)
        self._settings = options
        self._log = NatsEventLog(jetstream)
        recorder, news = Recorder(turns), News(NatsTeller(client))
        self._purger = Purger(self._log, keep=options.keep_events, now=utc_now)
        intake = Intake(
            recorder,
            TurnNews(store, turns, news),
            NatsDeadLetters(jetstream),
            self._log,
            on_stored=self._purger.stored,
        )
        self._consumer = NatsConsumer(client, intake, count=options.consumers)
        self._sweeper = Sweeper(turns, self._log, recorder, slack=options.sweep_slack, now=utc_now)
        marks = MongoPurgeMarks(database)
        self._retention = Retention(store, marks, purge_after=options.purge_after, now=utc_now)
        self._create_indexes = partial(create_indexes, database)
        freshness = Freshness(
            turns,
            self._log,
            recorder,
            holding=lambda: intake.holding,
            wait=options.read_wait.total_seconds(),
        )
        messages, searching = MongoMessageStore(database), Searching(store, MongoTerms(database))
        self._copying = Copying(store, store, messages, turns, freshness, news, now=utc_now)
        used = MongoUsageStore(database)
        keys, copies = MongoKeyStore(database), NatsKeyCopies(jetstream)
        self._purges = Purges(marks, database, jetstream, slack=options.sweep_slack)
        self._key_copying = KeyCopying(
            keys, copies, clock=time.monotonic, before=self._purges.telling.say
        )
        self.router = build_router(
            (
                *session_operations(
                    Sessions(store, turns, searching, freshness, news, now=utc_now),
                    Changing(store, turns, freshness, news, now=utc_now),
                    self._copying,
                    Reading(store, messages, freshness),
                    TreeReading(store, messages, freshness),
                    Health(store, self._log),
                ),
                *preset_operations(
                    Presets(MongoPresetStore(database), now=utc_now),
                    KeptSettings(MongoSettingsStore(database), news),
                ),
                *usage_operations(UsageReports(used, freshness), Spending(used, freshness)),
                *key_operations(
                    ApiKeys(keys, copies, turns, now=utc_now, doubted=self._key_copying.doubt)
                ),
                *user_operations(self._purges.purging),
            ),
            workers=options.query_workers,
            max_payload=lambda: client.max_payload,
        )

    async def start(self, background: Background) -> None:
        """Start all loops; returns once the durable consumer is there to be pulled from."""
        options = self._settings
        background.start(
            "history-indexes", until_done("indexes", self._create_indexes, pause=_RETRY)
        )
        background.start("history-consumer", self._consumer.run())
        background.start(
            "history-purger",
            again_and_again(
                "purge",
                self._purger.purge,
                partial(self._purger.due, options.purge_interval.total_seconds()),
            ),
        )
        background.start(
            "history-sweeper",
            again_and_again(
                "sweep",
                self._sweeper.sweep,
                partial(asyncio.sleep, options.sweep_interval.total_seconds()),
            ),
        )
        background.start(
            "history-retention",
            again_and_again(
                "retention", self._retention.purge, partial(asyncio.sleep, _RETENTION_INTERVAL)
            ),
        )
        background.start("history-keys", self._keep_copying())
        self._purges.start(background)
        await until_done("consumer", self._log.progress, pause=_RETRY)

    async def _keep_copying(self) -> None:
        # At once: until it is done, gateways let nobody in.
        await until_done("copy-keys", self._key_copying.mend, pause=_RETRY)
        wait = partial(asyncio.sleep, _KEYS_INTERVAL)
        await again_and_again("copy-keys", self._key_copying.mend, wait)

    async def stop(self) -> None:
        """End what queries have begun; asked for again, it goes on."""
        await self._copying.stop()
        await self._purges.purging.stop()


def create_app(settings: Settings, *, wrap: WrapStore = as_it_is) -> FastStream:
    """Wire the history service.

    It connects in a startup hook, not in the lifespan, so that a signal ends it also while it
    waits for a broker that is away.

    Args:
        settings: Read once by the caller.
        wrap: Puts something around what is written to; tests put faults there.
    """
    broker = build_broker(settings.nats, Identity.HISTORY, graceful_timeout=5)
    background = Background(lambda: app.exit())
    opened: list[_History] = []
    clients: list[MongoClient] = []

    async def connect() -> None:
        client = await broker.connect()
        clients.append(open_client(settings.mongo.url))
        opened.append(_History(settings, client, clients[0], wrap))
        broker.include_router(opened[0].router)

    async def begin() -> None:
        # A restart of the broker between two of these is noticed by the second.
        await opened[0].start(background)
        client = await broker.connect()
        await client.flush()
        log.info(READY)

    async def close() -> None:
        for history in opened:
            await history.stop()
        for mongo in clients:
            mongo.close()

    app = FastStream(
        broker,
        on_startup=[connect],
        after_startup=[begin],
        on_shutdown=[background.stop],
        after_shutdown=[close],
        logger=logging.getLogger("faststream"),
    )
    return app
