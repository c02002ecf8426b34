"""A gateway's surroundings that remember: history's own use cases, keys, usage, in memory."""

from datetime import timedelta
from math import inf
from typing import Any, Final, NamedTuple

import httpx

from services.api.access.key_admin import KeyAdmin, Wish
from services.api.completions.catalog import Catalog
from services.history.api_keys import ApiKeys
from services.history.event_format import Event
from services.history.key_operations import key_operations
from services.history.news import News
from services.history.preferences import KeptSettings
from services.history.preset_operations import preset_operations
from services.history.presets import Presets
from services.history.recorder import Recorder
from services.history.spending import Spending
from services.history.usage import UsageReports
from services.history.usage_operations import usage_operations
from services.history.user_operations import user_operations
from shared.clock import utc_now
from shared.contracts.api_keys import KeyCopy
from shared.contracts.chat import Usage
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.questions import Q, Question, R
from tests.fakes.api.asking import FakeAsking
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import FakeJournal
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld
from tests.fakes.history.memory_keys import MemoryKeyCopies, MemoryKeyStore
from tests.fakes.history.memory_presets import MemoryPresetStore, MemorySettingsStore
from tests.fakes.history.memory_usage import MemoryUsageStore
from tests.fakes.history.memory_users import (
    MemoryTraces,
    MemoryUserStore,
    MemoryWords,
    purging_of,
)
from tests.fakes.history.told import Told

ANSWER: Final = "An answer of the model."
MARK: Final = "Xylophone"
"""Stands in everything that ``belongings_of`` makes, so that it is seen where it should not be."""


class _Journal(FakeJournal):
    """What gateways and workers record is stored before the next question is answered."""

    def __init__(self) -> None:
        super().__init__()
        self._stored: set[tuple[str, CompletionId]] = set()

    async def store(self, recorder: Recorder) -> None:
        events: list[Event] = [*self.accepted_events, *self.ends.values()]
        for event in events:
            name = (event.type, event.completion_id)
            if name not in self._stored:
                self._stored.add(name)
                await recorder.record(event, NOON)


class _History(WholeHistory):
    def __init__(self, journal: _Journal) -> None:
        super().__init__()
        self._journal = journal
        self._recorder = Recorder(self.scene.store)

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        await self._journal.store(self._recorder)
        return await super().ask(question, query)


class _AnyQuestion(FakeAsking):
    """Everything that gateways ask, answered by history's own operations."""

    def __init__(self, history: _History, copies: MemoryKeyCopies) -> None:
        super().__init__(history)
        self._whole = history
        used, freshness = MemoryUsageStore(history.scene.store), history.scene.freshness
        presets, settings, keys = MemoryPresetStore(), MemorySettingsStore(), MemoryKeyStore()
        kept, store = KeptSettings(settings, News(Told())), history.scene.store
        purging = purging_of(
            store,
            MemoryUserStore(store, presets, settings),
            keys,
            copies,
            MemoryWords(),
            MemoryTraces(),
            slack=timedelta(minutes=1),
            now=lambda: NOON,
        )
        history.add(
            *preset_operations(Presets(presets, now=utc_now), kept),
            *key_operations(ApiKeys(keys, copies, store, now=lambda: NOON, doubted=lambda: None)),
            *usage_operations(UsageReports(used, freshness), Spending(used, freshness)),
            *user_operations(purging),
        )

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        return await self._whole.ask(question, query)


class _HeardCopies(MemoryKeyCopies):
    """Each copy reaches the gateway's ring at once."""

    def __init__(self, world: FakeWorld) -> None:
        super().__init__()
        self._world = world

    async def create(self, digest: str, copy: KeyCopy) -> bool:
        self._world.key_ring.hear(digest, copy)
        return await super().create(digest, copy)

    async def put(self, digest: str, copy: KeyCopy) -> None:
        self._world.key_ring.hear(digest, copy)
        await super().put(digest, copy)


class WholeWorld(FakeWorld):
    """Every request of a gateway over it finds what earlier ones have made."""

    def __init__(self) -> None:
        super().__init__()
        # Its worker speaks once, and is there for as long as a test takes.
        self.catalog = Catalog(self.clock, age=inf)
        journal = _Journal()
        history = _History(journal)
        self.journal, self.history = journal, history
        self.asking = _AnyQuestion(history, _HeardCopies(self))
        self.answer(ANSWER, usage=Usage(prompt_tokens=3, completion_tokens=5, total_tokens=8))

    async def new_key(self, user: str, *, admin: bool = False) -> str:
        """A key that this gateway knows."""
        made = await KeyAdmin(self.asking).create(Wish(UserId(user), admin=admin))
        return made.secret


class Belongings(NamedTuple):
    """What a user has at a gateway."""

    session_id: str
    message_id: str
    completion_id: str
    preset_id: str


async def belongings_of(client: httpx.AsyncClient, token: str | None) -> Belongings:
    """One of each, made by requests."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    made: list[dict[str, Any]] = []
    session = "/api/chat/sessions"
    for address, body in (
        (session, {"model": "demo", "title": MARK}),
        ("send_message", {"message": f"{MARK} is a secret"}),
        ("/api/chat/presets", {"name": MARK}),
    ):
        path = address if address.startswith("/") else f"{session}/{made[0]['id']}/{address}"
        reply = await client.post(path, json=body, headers=headers)
        assert reply.is_success, reply.text
        made.append(reply.json())
    conversation, turn, preset = made
    return Belongings(
        conversation["id"], turn["aiMessage"]["id"], turn["completionId"], preset["id"]
    )
