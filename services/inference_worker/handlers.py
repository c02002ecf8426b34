"""What others ask a worker: does anybody serve this model now?"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

import nats.errors
from faststream.nats import NatsBroker
from faststream.nats.subscriber.usecases import CoreSubscriber

from shared.contracts import streams, subjects
from shared.contracts.workers import WorkerProbe


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


async def _stop(subscriber: CoreSubscriber) -> None:
    # The interest first: ``stop()`` ends it only after what it is answering, within up to 15 s, in
    # which askers would wait for a reply instead of hearing that there is nobody.
    subscription, subscriber.subscription = subscriber.subscription, None
    if subscription is not None:
        with suppress(nats.errors.Error):  # closed or draining: it goes with the connection
            await subscription.unsubscribe()
    await subscriber.stop()
