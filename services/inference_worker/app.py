"""Composition root of the worker: the only place that builds its parts."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Final

import structlog
from faststream import FastStream
from faststream.nats import NatsBroker
from nats.aio.client import Client

from services.inference_worker.ability import Ability
from services.inference_worker.adapters.nats_control import NatsControl
from services.inference_worker.adapters.nats_directory import NatsDirectory
from services.inference_worker.adapters.nats_frames import NatsFrames
from services.inference_worker.adapters.nats_ledger import NatsLedger
from services.inference_worker.adapters.nats_memory import NatsAbilityMemory
from services.inference_worker.adapters.nats_pulls import NatsPulls
from services.inference_worker.adapters.ollama_client import OllamaClient, build_client
from services.inference_worker.adapters.ollama_engine import OllamaEngine, QuietLimits
from services.inference_worker.adapters.ollama_models import OllamaModels
from services.inference_worker.completions import Completions, Surroundings
from services.inference_worker.dispatch import Dispatcher
from services.inference_worker.generation import Generation
from services.inference_worker.handlers import SyncRequests, WorkerProbes
from services.inference_worker.offering import Offering
from services.inference_worker.offering_ports import Intervals, Worker
from services.inference_worker.settings import Settings
from shared.clock import utc_now
from shared.contracts.identities import Identity
from shared.contracts.workers import WorkerProbe
from shared.messaging.connection import build_broker
from shared.messaging.jetstream import JetStream
from shared.observability.logging import READY
from shared.tasks import end_tasks

_LOOK_TIMEOUT: Final = 5.0

log = structlog.stdlib.get_logger(__name__)

Surround = Callable[[Surroundings], Surroundings]


def as_they_are(around: Surroundings) -> Surroundings:
    """Nothing in between."""
    return around


class Parts:
    """A worker on a connected broker: built, started and ended in one place."""

    def __init__(
        self,
        settings: Settings,
        broker: NatsBroker,
        client: Client,
        engine: OllamaClient,
        on_death: Callable[[], None],
        surround: Surround,
    ) -> None:
        timeout = settings.nats.request_timeout.total_seconds()
        jetstream = JetStream(client, timeout=timeout)
        worker_id = f"w{secrets.token_hex(6)}"
        slots = settings.worker.slots
        url = settings.engine.url
        frames = NatsFrames(client)
        limits = QuietLimits(
            max(settings.engine.first_token_timeout, settings.engine.token_timeout),
            settings.engine.token_timeout,
        )
        models = OllamaModels(engine, url, timeout=_LOOK_TIMEOUT)
        driver = OllamaEngine(engine, limits)
        generation = Generation(
            driver,
            Ability(driver, NatsAbilityMemory(jetstream), models.fingerprint),
            coalesce=settings.worker.coalesce,
        )
        self.completions = Completions(
            generation,
            surround(
                Surroundings(frames, NatsLedger(jetstream), NatsControl(client, timeout=timeout))
            ),
            now=utc_now,
            on_model_missing=lambda: self.offering.check_soon(),
        )
        self._pulls = NatsPulls(client, timeout=timeout)
        self.dispatcher = Dispatcher(
            self._pulls,
            self.completions.run,
            slots=slots,
            on_missing=lambda model: self.offering.queue_missing(model),
        )
        self.offering = Offering(
            Worker(worker_id, url, slots, lambda: self.dispatcher.free, self.dispatcher.offer),
            models,
            NatsDirectory(client, jetstream, timeout=timeout),
            WorkerProbes(
                broker,
                lambda: WorkerProbe(worker_id=worker_id, slots=slots, free=self.dispatcher.free),
            ),
            Intervals(check=settings.worker.check_interval),
        )
        self._sync_requests = SyncRequests(broker, worker_id, self.offering.relist)
        self._drain_timeout = settings.worker.drain_timeout.total_seconds()
        self._engine = engine
        self._on_death = on_death
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Offer what the engine has and take requests; an engine that is down is waited for."""
        await self._sync_requests.start()
        await self.offering.check()
        self._tasks = [
            asyncio.create_task(self.offering.keep_checking(), name="offering-check"),
            asyncio.create_task(self.offering.keep_announcing(), name="offering-announce"),
            asyncio.create_task(self._pulls.watch_reconnects(), name="reconnects"),
            asyncio.create_task(self.dispatcher.run(), name="dispatcher"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._report)

    async def stop(self) -> None:
        """Offer nothing, take nothing, finish what runs as far as time allows."""
        # First, so that nothing is offered again behind the withdrawal's back.
        await end_tasks(self._tasks[:2])
        await self._sync_requests.stop()
        await self.offering.withdraw()
        await self.dispatcher.drain(self._drain_timeout)
        await end_tasks(self._tasks)
        await self._engine.aclose()

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            # Half a worker is worse than none: who supervises the process starts a whole one.
            log.critical("part_died", part=task.get_name(), exc_info=task.exception())
            self._on_death()


def create_app(settings: Settings, *, surround: Surround = as_they_are) -> FastStream:
    """Wire the worker; nothing connects before the app starts.

    Args:
        settings: Read once by the caller.
        surround: Puts something between completions and the broker; tests put faults there.
    """
    broker = build_broker(settings.nats, Identity.WORKER)
    started: list[Parts] = []

    async def start() -> None:
        key = settings.engine.api_key
        engine = build_client(
            settings.engine.url,
            connect_timeout=settings.engine.connect_timeout.total_seconds(),
            api_key=key.get_secret_value() if key else None,
        )
        parts = Parts(settings, broker, await broker.connect(), engine, app.exit, surround)
        started.append(parts)
        await parts.start()
        log.info(READY)

    async def stop() -> None:
        for parts in started:
            await parts.stop()

    app = FastStream(
        broker,
        after_startup=[start],
        on_shutdown=[stop],
        logger=logging.getLogger("faststream"),
    )
    return app
