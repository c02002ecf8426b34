"""Have all workers list their engines now, and say what has changed by that."""

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple

from services.api.background import Background
from services.api.completions.catalog import Catalog
from services.api.ports.broker import Clock
from services.api.ports.relisting import Relisting
from shared.contracts.workers import EngineRelisted, ModelCard

_DEADLINE: Final = 5.0
_ARRIVAL: Final = 0.5
"""Seconds that the last announcement gets at least."""
_LOOK_EVERY: Final = 0.01


class FailedWorker(NamedTuple):
    """A worker that could not do it, or not wholly."""

    worker: str
    error: str


class Synced(NamedTuple):
    """What is different from before, by names as clients see them."""

    added: list[str]
    removed: list[str]
    updated: list[str]
    workers: int
    """How many have listed their engine without a failure."""
    failed: list[FailedWorker]


class Syncing:
    """One runs at a time; who asks meanwhile gets its result."""

    def __init__(
        self,
        catalog: Catalog,
        relisting: Relisting,
        background: Background,
        clock: Clock,
        *,
        deadline: float = _DEADLINE,
    ) -> None:
        self._catalog = catalog
        self._relisting = relisting
        self._background = background
        self._clock = clock
        self._deadline = deadline
        self._running: asyncio.Task[Synced] | None = None

    async def sync(self) -> Synced:
        """Ask all workers, wait until the catalog shows what they say, and compare.

        It ends within the deadline and half a second.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        if self._running is None or self._running.done():
            self._running = self._background.spawn(self._sync(), "sync-models")
        return await asyncio.shield(self._running)

    async def _sync(self) -> Synced:
        began = self._clock.monotonic()
        before = self._cards()
        known = {worker.worker_id for worker in self._catalog.workers()}
        replies = await self._relisting.relist(known, timeout=self._deadline)
        waiting_until = max(began + self._deadline, self._clock.monotonic() + _ARRIVAL)
        late = await self._unseen(replies, waiting_until)
        after = self._cards()
        silent = known - {reply.worker_id for reply in replies}
        failed = [
            *(FailedWorker(it.worker_id, it.error) for it in replies if it.error is not None),
            *(FailedWorker(it, f"no answer within {self._deadline:g} s") for it in silent),
            *(FailedWorker(it, "its list was not announced in time") for it in late),
        ]
        return Synced(
            added=sorted(after.keys() - before.keys()),
            removed=sorted(before.keys() - after.keys()),
            updated=sorted(it for it in after.keys() & before.keys() if after[it] != before[it]),
            workers=sum(1 for it in replies if it.error is None and it.worker_id not in late),
            failed=sorted(failed),
        )

    def _cards(self) -> dict[str, ModelCard]:
        return {offer.id: offer.card for offer in self._catalog.models()}

    async def _unseen(self, replies: Iterable[EngineRelisted], until: float) -> set[str]:
        """Those whose list is still another one here when the time is over.

        One with an error may have no list to wait for.
        """
        promised = {it.worker_id: it.models for it in replies if it.error is None}
        while True:
            shown = {it.worker_id: it.models for it in self._catalog.workers()}
            unseen = {it for it, models in promised.items() if shown.get(it) != models}
            if not unseen or self._clock.monotonic() >= until:
                return unseen
            await asyncio.sleep(_LOOK_EVERY)
