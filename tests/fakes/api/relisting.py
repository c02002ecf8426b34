"""All workers of the catalog, which list again what they have listed, or what a test says."""

import asyncio
from collections.abc import Collection

from services.api.completions.catalog import Catalog
from shared.contracts.workers import EngineRelisted
from shared.errors import BrokerUnavailable


class FakeRelisting:
    """``Relisting``; a reply in ``replies`` takes the place of the worker's own, ``None`` none."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.replies: dict[str, EngineRelisted | None] = {}
        self.expected: list[set[str]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.away = False

    async def relist(self, expected: Collection[str], *, timeout: float) -> list[EngineRelisted]:
        if self.away:
            raise BrokerUnavailable("away")
        self.expected.append(set(expected))
        await self.go.wait()
        replies = {
            worker.worker_id: EngineRelisted(worker_id=worker.worker_id, models=worker.models)
            for worker in self._catalog.workers()
        } | self.replies
        return [reply for reply in replies.values() if reply is not None]
