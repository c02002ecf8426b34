"""What others ask a worker: does anybody serve this model now, and what has your engine now?"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from faststream.nats import NatsBroker
from faststream.nats.subscriber.usecases import CoreSubscriber

from shared.contracts import streams, subjects
from shared.contracts.workers import EngineRelisted, WorkerProbe
from shared.errors import ServerShutdown
from shared.messaging.lost import LOST


class WorkerProbes:
    """``Preflight``: one subscriber for each model that is offered, in the workers' queue group.

    Gateways take *no responders* for "nobody": so there is no subscriber for anything else.
    """

    def __init__(self, broker: NatsBroker, probe: Callable[[], WorkerProbe]) -> None:
        self._broker = broker
        self._probe = probe
        self._subscribers: dict[str, CoreSubscriber] = {}

    async def serve(self, models: Collection[str]) -> None:
        """From now on answer for these models and no others."""
        gone = [served for served in self._subscribers if served not in models]
        # Together: each waits for what it is answering just now.
        await asyncio.gather(*(_stop(self._subscribers[model]) for model in gone))
        for model in gone:
            del self._subscribers[model]
        for model in models:
            if model not in self._subscribers:
                # Noted before it starts: a start that is cancelled halfway must be stopped too.
                self._subscribers[model] = self._subscriber(model)
                await self._subscribers[model].start()

    def _subscriber(self, model: str) -> CoreSubscriber:
        subscriber = self._broker.subscriber(
            subjects.workers(model), streams.WORKER_QUEUE_GROUP, persistent=False
        )

        async def probe() -> WorkerProbe:
            return self._probe()

        subscriber(probe)
        return subscriber


class SyncRequests:
    """Answers each request to list the engine anew, with all other workers: no queue group."""

    def __init__(
        self, broker: NatsBroker, worker_id: str, relist: Callable[[], Awaitable[EngineRelisted]]
    ) -> None:
        self._worker_id = worker_id
        self._relist = relist
        # Several at once: those who ask during a check share the next one.
        self._subscriber = broker.subscriber(subjects.SYNC, persistent=False, max_workers=8)
        self._subscriber(self._answer)

    async def start(self) -> None:
        """Answer from now on."""
        await self._subscriber.start()

    async def stop(self) -> None:
        """Answer no more; what was asked is answered."""
        await _stop(self._subscriber)

    async def _answer(self) -> EngineRelisted:
        try:
            return await self._relist()
        except ServerShutdown as error:
            return EngineRelisted(worker_id=self._worker_id, error=error.message)


async def _stop(subscriber: CoreSubscriber) -> None:
    # The interest first: ``stop()`` ends it only after what it is answering, within up to 15 s, in
    # which askers would wait for a reply instead of hearing that there is nobody.
    subscription, subscriber.subscription = subscriber.subscription, None
    if subscription is not None:
        with suppress(*LOST):  # closed or draining: it goes with the connection
            await subscription.unsubscribe()
    await subscriber.stop()
