"""``UsageStore`` over a ``MemoryStore``."""

from collections import defaultdict
from collections.abc import Collection

from services.history.records import UsageRecord
from services.history.usage_ports import FirstToken, Tally, UsageSum
from shared.contracts.ids import CompletionId, UserId
from shared.errors import HistoryUnavailable
from tests.fakes.history.memory_store import MemoryStore


class MemoryUsageStore:
    """Reads what the other ports have written."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def _records(self, user_id: UserId, first: str, last: str) -> list[UsageRecord]:
        if not self._store.available:
            raise HistoryUnavailable("away")
        return [
            record
            for record in self._store.usage.values()
            if record.user_id == user_id and first <= record.day <= last
        ]

    async def sums(
        self, user_id: UserId, first: str, last: str, *, key_id: str | None = None
    ) -> list[UsageSum]:
        groups: dict[tuple[str, str], list[UsageRecord]] = defaultdict(list)
        for record in self._records(user_id, first, last):
            if key_id not in (None, record.key_id):
                continue
            groups[record.day, record.model_used].append(record)
        return [
            UsageSum(
                day,
                model,
                requests=len(records),
                prompt_tokens=sum(record.prompt_tokens for record in records),
                completion_tokens=sum(record.completion_tokens for record in records),
                total_tokens=sum(record.total_tokens for record in records),
                estimated=sum(record.estimated for record in records),
            )
            for (day, model), records in groups.items()
        ]

    async def ended(
        self, user_id: UserId, completion_ids: Collection[CompletionId]
    ) -> set[CompletionId]:
        if not self._store.available:
            raise HistoryUnavailable("away")
        owners = {record.id: record.user_id for record in self._store.usage.values()}
        owners |= self._store.enders
        return {each for each in completion_ids if owners.get(each) == user_id}

    async def first_tokens(
        self, user_id: UserId, first: str, last: str, limit: int
    ) -> list[FirstToken]:
        latest = sorted(self._records(user_id, first, last), key=lambda it: it.day, reverse=True)
        timed = [
            FirstToken(record.day, record.model_used, record.first_token_ms)
            for record in latest
            if record.first_token_ms is not None
        ]
        return timed[:limit]

    async def tally(self, user_id: UserId) -> Tally:
        if not self._store.available:
            raise HistoryUnavailable("away")
        shown = [
            session
            for session in self._store.sessions.values()
            if session.user_id == user_id and session.deleted_at is None
        ]
        return Tally(len(shown), sum(session.message_count for session in shown))
