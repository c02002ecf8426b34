"""The use cases of history on one store in memory, and a log that nothing waits for."""

from datetime import datetime

from services.history.changing import Changing
from services.history.copying import Copying
from services.history.freshness import Freshness
from services.history.news import News
from services.history.reading import Reading
from services.history.recorder import Recorder
from services.history.searching import Searching
from services.history.sessions import Sessions
from services.history.tree_reading import TreeReading
from shared.contracts.history import CreateSession, GetSession, SessionDetail
from tests.fakes.history.conversation import NOON, SESSION, USER, Turn
from tests.fakes.history.log import MemoryLog
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.told import Told
from tests.unit.history.test_recorder import record


class Scene:
    """``store`` holds one empty session once ``begin`` has been called."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store = store or MemoryStore()
        self.log = MemoryLog()
        self.now = NOON
        self.freshness = freshness = Freshness(
            store, self.log, Recorder(store), holding=lambda: False, wait=1, pause=self._pause
        )
        self.told = Told()
        searching, news = Searching(store, store), News(self.told)
        self.sessions = Sessions(store, store, searching, freshness, news, now=self._now)
        self.changing = Changing(store, store, freshness, news, now=self._now)
        self.copying = Copying(store, store, store, store, freshness, news, now=self._now)
        self.reading = Reading(store, store, freshness)
        self.trees = TreeReading(store, store, freshness)

    def _now(self) -> datetime:
        return self.now

    async def _pause(self, seconds: float) -> None:
        self.log.floor = len(self.log.events)

    async def begin(self, **settings: object) -> None:
        command = CreateSession(user_id=USER, session_id=SESSION)
        await self.sessions.create(command.model_copy(update=settings))

    async def say(self, *turns: Turn, answer: str = "Yes") -> None:
        for turn in turns:
            await record(self.store, turn.accepted(), turn.completed(text=answer))

    async def detail(self, **asked: object) -> SessionDetail:
        query = GetSession(user_id=USER, session_id=SESSION).model_copy(update=asked)
        return await self.reading.detail(query)
