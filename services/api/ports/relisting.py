"""How all workers are made to list their engines anew."""

from collections.abc import Collection
from typing import Protocol

from shared.contracts.workers import EngineRelisted


class Relisting(Protocol):
    """One question to all workers."""

    async def relist(self, expected: Collection[str], *, timeout: float) -> list[EngineRelisted]:
        """Ask; gives what came within ``timeout`` seconds, one reply of each worker.

        Args:
            expected: Ids of workers: once all of them have replied, it waits no more. If there
                are none, the first reply is enough.
            timeout: Seconds.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        ...
