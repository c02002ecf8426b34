"""What somebody has spent, exactly: a sum, and which completions are in it."""

from typing import Final

from services.history.freshness import Freshness
from services.history.usage_ports import UsageStore
from shared.contracts.usage import Spent, SpentQuery
from shared.errors import HistoryUnavailable

_TRIES: Final = 5


class Spending:
    """Raises ``HistoryUnavailable`` also when it could only guess."""

    def __init__(self, store: UsageStore, freshness: Freshness) -> None:
        self._store = store
        self._freshness = freshness

    async def spent(self, query: SpentQuery) -> Spent:
        """The sum, and who of ``query.open`` has ended: exactly those are in it.

        An end that is stored while this adds up may be in the sum or not, so it adds up again until
        none was.

        Raises:
            HistoryUnavailable: see above, or the database is away.
        """
        await self._freshness.all_of_it()
        days = (query.first.isoformat(), query.last.isoformat())
        before = await self._store.ended(query.user_id, query.open)
        for _ in range(_TRIES):
            sums = await self._store.sums(query.user_id, *days, key_id=query.key_id)
            ended = await self._store.ended(query.user_id, query.open)
            if ended == before:
                break
            before = ended
        else:
            message = "Too many answers ended while it was added up; try again in a moment."
            raise HistoryUnavailable(message)
        models: dict[str, tuple[int, int]] = {}
        for part in sums:
            prompt, completion = models.get(part.model, (0, 0))
            models[part.model] = (prompt + part.prompt_tokens, completion + part.completion_tokens)
        return Spent(
            tokens=sum(part.total_tokens for part in sums), models=models, ended=sorted(ended)
        )
