"""What gateways are told of purges stays true, whatever the broker or the database has lost."""

import structlog

from services.history.user_ports import PurgeMarks, PurgeWords

log = structlog.stdlib.get_logger(__name__)


class PurgeTelling:
    """Raises (every call): ``HistoryUnavailable`` or ``BrokerUnavailable``: try again."""

    def __init__(self, marks: PurgeMarks, words: PurgeWords) -> None:
        """Tell of ``marks`` by ``words``."""
        self._marks = marks
        self._words = words

    async def say(self) -> None:
        """Tell of all users who go; where the broker has forgotten, before it knows any key."""
        for mark in await self._marks.under_way():
            await self.tell(mark.id)

    async def tell(self, digest: str) -> bool:
        """Tell of one user, if they still go; whether gateways know of it."""
        # In this order: that it is over, said since by who has finished it, is newer than the word.
        word = await self._words.find(digest)
        mark = await self._marks.find(digest)
        if mark is None or mark.finished_at is not None:
            return False
        return (word is not None and word.under_way) or await self._words.say(digest, word)

    async def mend(self) -> None:
        """Let those in again whose purge is over, or who are not marked in the database.

        Who finished a purge may have died before it said so; and a database that was set back to a
        backup may have lost the mark of one that had begun.
        """
        # In this order: who begins a purge marks it before it says so.
        said = await self._words.said()
        if not said:
            return
        marked = {mark.id for mark in await self._marks.under_way()}
        for digest, revision in said.items():
            if digest not in marked and await self._words.take_back(digest, revision):
                log.warning("purge_word_taken_back", purge=digest)
