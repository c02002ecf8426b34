"""What others ask a worker: does anybody serve this model now?"""

from collections.abc import Callable, Collection

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
        for model in [served for served in self._subscribers if served not in models]:
            await self._subscribers.pop(model).stop()
        for model in models:
            if model not in self._subscribers:
                self._subscribers[model] = await self._subscribe(model)

    async def _subscribe(self, model: str) -> CoreSubscriber:
        subscriber = self._broker.subscriber(
            subjects.workers(model), streams.WORKER_QUEUE_GROUP, persistent=False
        )

        async def probe() -> WorkerProbe:
            return self._probe()

        subscriber(probe)
        await subscriber.start()
        return subscriber
