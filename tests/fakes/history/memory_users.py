"""``PurgeMarks``, ``UserStore``, ``Traces`` and ``PurgeWords`` in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from services.history.purge_holding import Holding
from services.history.records import OpenCompletion
from services.history.user_ports import PurgeMark, Word
from services.history.user_purging import UserPurging
from services.history.user_sweeping import Sweeping
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.user_purge import UserData
from shared.errors import BrokerUnavailable
from tests.fakes.history.memory_keys import MemoryKeyCopies, MemoryKeyStore
from tests.fakes.history.memory_presets import MemoryPresetStore, MemorySettingsStore
from tests.fakes.history.memory_store import MemoryStore


class MemoryPurgeMarks:
    """A dictionary: that of ``store``, which the recorder looks at."""

    def __init__(self, marks: dict[str, PurgeMark]) -> None:
        self.marks = marks

    async def begin(self, mark: PurgeMark) -> PurgeMark:
        there = self.marks.get(mark.id)
        if there is None or there.finished_at is not None:
            self.marks[mark.id] = mark
        return self.marks[mark.id]

    async def find(self, digest: str) -> PurgeMark | None:
        return self.marks.get(digest)

    async def under_way(self) -> list[PurgeMark]:
        return [mark for mark in self.marks.values() if mark.finished_at is None]

    async def hold(self, seen: PurgeMark, holder: str, beat: int) -> bool:
        there = self.marks.get(seen.id)
        if there is None or there.user_id is None or there.begun_at != seen.begun_at:
            return False
        if there.holder != holder and (there.holder, there.beat) != (seen.holder, seen.beat):
            return False
        self._change(seen.id, holder=holder, beat=beat)
        return True

    async def tell(self, digest: str, at: int, before: int, settles_at: int) -> PurgeMark | None:
        mark = self.marks.get(digest)
        if mark is not None and mark.finished_at is None and mark.told_at is None:
            self._change(digest, told_at=at, before=before, settles_at=settles_at)
        return self.marks.get(digest)

    async def keep_found(self, digest: str, found: UserData) -> None:
        if self.marks[digest].found is None:
            self._change(digest, found=found)

    async def keep_keys(self, digest: str, keys: Collection[str], revoked: Collection[str]) -> None:
        mark = self.marks[digest]
        self._change(
            digest,
            key_ids=sorted({*(mark.key_ids or ()), *keys}) or None,
            revoked_ids=sorted({*(mark.revoked_ids or ()), *revoked}) or None,
        )

    async def swept(self, digest: str, at: int, running: Collection[CompletionId]) -> None:
        known = sorted({*(self.marks[digest].running or ()), *running}) or None
        self._change(digest, swept_at=at, running=known, holder=None, beat=None)

    async def keep_running(self, digest: str, completion_id: CompletionId) -> None:
        mark = self.marks.get(digest)
        if mark is not None and mark.user_id is not None:
            self._change(digest, running=sorted({*(mark.running or ()), completion_id}))

    async def finish(self, digest: str, holder: str, at: int) -> bool:
        mark = self.marks[digest]
        if mark.user_id is None or mark.holder != holder:
            return False
        gone = dict.fromkeys(
            ("user_id", "running", "key_ids", "revoked_ids", "holder", "beat"), None
        )
        self._change(digest, **gone, finished_at=at)
        return True

    def _change(self, digest: str, **changes: object) -> None:
        self.marks[digest] = self.marks[digest].model_copy(update=changes)

    async def forget(self, finished_before: int) -> None:
        for digest, mark in list(self.marks.items()):
            if mark.finished_at is not None and mark.finished_at < finished_before:
                del self.marks[digest]


class MemoryUserStore:
    """Everything of one user in the other stores; one document of each kind is a batch."""

    def __init__(
        self, store: MemoryStore, presets: MemoryPresetStore, settings: MemorySettingsStore
    ) -> None:
        self._store = store
        self._presets = presets
        self._settings = settings

    async def count(self, user_id: UserId) -> UserData:
        store = self._store
        sessions = self._of(store.sessions, user_id)
        return UserData(
            sessions=len(sessions),
            messages=sum(it.session_id in sessions for it in store.stored_messages.values()),
            search_terms=sum(key[0] == user_id for key in store.terms),
            usage=len(self._of(store.usage, user_id)),
            presets=len(self._of(self._presets.presets, user_id)),
            preferences=int(user_id in self._settings.by_user),
            completions=len(store.known_of(user_id)),
        )

    async def completions(self, user_id: UserId, since: int) -> Sequence[CompletionId]:
        store = self._store
        return [
            it
            for it in store.known_of(user_id)
            if max(store.ended.get(it, 0), _accepted(store.open.get(it))) >= since
        ]

    async def open_completions(self, user_id: UserId) -> Sequence[CompletionId]:
        known = self._store.known_of(user_id)
        return [it for it in known if it not in self._store.ended]

    async def hide(self, user_id: UserId) -> None:
        self._store.purging.update(self._of(self._store.sessions, user_id))

    async def remove(self, user_id: UserId) -> AsyncGenerator[None]:
        store = self._store
        for place in (store.sessions, store.stored_messages, store.usage, self._presets.presets):
            for key in self._of(place, user_id):
                del place[key]
                yield
        for key in [key for key in store.terms if key[0] == user_id]:
            del store.terms[key]
        self._settings.by_user.pop(user_id, None)
        for completion_id in store.known_of(user_id):
            store.open.pop(completion_id, None)
            store.ended.pop(completion_id, None)
            store.enders.pop(completion_id, None)

    def _of(self, place: dict, user_id: UserId) -> list:  # type: ignore[type-arg]
        return [key for key, record in place.items() if record.user_id == user_id]


def purging_of(
    store: MemoryStore,
    users: MemoryUserStore,
    keys: MemoryKeyStore,
    copies: MemoryKeyCopies,
    words: "MemoryWords",
    traces: "MemoryTraces",
    *,
    slack: timedelta,
    now: Callable[[], datetime],
    clock: Callable[[], float] = lambda: 0.0,
    name: str = "one",
    marks: MemoryPurgeMarks | None = None,
) -> UserPurging:
    """The use case over these; ``name`` is that of its process."""
    marks = marks if marks is not None else MemoryPurgeMarks(store.marks)
    return UserPurging(
        marks,
        words,
        Sweeping(marks, users, keys, copies, traces, now=now),
        Holding(marks, name=name, clock=clock),
        slack=slack,
        now=now,
        clock=clock,
    )


class MemoryTraces:
    """Remembers what it was asked; ``events`` are found once."""

    def __init__(self) -> None:
        self.events: dict[CompletionId, bool] = {}
        self.requests: list[CompletionId] = []
        self.frames: list[set[CompletionId]] = []
        self.holders: list[tuple[UserId, list[str]]] = []
        self.letters: list[UserId] = []
        self.failures = 0
        self.fails_for: set[UserId] = set()
        self.surprises_for: set[UserId] = set()
        self.tried: Counter[UserId] = Counter()
        """How often the events of each were looked for."""
        self.hold_back: asyncio.Event | None = None
        """Who looks for events waits for this."""
        self.reached = asyncio.Event()

    async def frames_since(self, now: int) -> int:
        return 0

    async def remove_events(self, user_id: UserId) -> dict[CompletionId, bool]:
        self.tried[user_id] += 1
        self.reached.set()
        if self.hold_back is not None:
            await self.hold_back.wait()
        if user_id in self.surprises_for:
            raise KeyError(user_id)
        if self.failures or user_id in self.fails_for:
            self.failures = max(self.failures - 1, 0)
            raise BrokerUnavailable("away")
        found, self.events = self.events, {}
        return found

    async def remove_frames(self, completions: Collection[CompletionId]) -> None:
        self.frames.append(set(completions))

    async def remove_entries(self, user_id: UserId, key_ids: Sequence[str]) -> None:
        self.holders.append((user_id, list(key_ids)))

    async def remove_dead_letters(self, user_id: UserId) -> None:
        self.letters.append(user_id)

    async def remove_requests(self, user_id: UserId) -> list[CompletionId]:
        found, self.requests = self.requests, []
        return found


class MemoryWords:
    """What gateways would know."""

    def __init__(self) -> None:
        self.known: dict[str, bool] = {}
        self.available = True
        self.silent = False
        """That somebody may come back cannot be said."""
        self._revisions: dict[str, int] = {}

    def _check(self) -> None:
        if not self.available:
            raise BrokerUnavailable("away")

    async def under_way(self, digest: str) -> None:
        self._check()
        self._say(digest, under_way=True)

    async def find(self, digest: str) -> Word | None:
        self._check()
        known = self.known.get(digest)
        return None if known is None else Word(known, self._revisions[digest])

    async def say(self, digest: str, after: Word | None) -> bool:
        self._check()
        if await self.find(digest) != after:
            return False
        self._say(digest, under_way=True)
        return True

    async def said(self) -> Mapping[str, int]:
        self._check()
        return {it: self._revisions[it] for it, under_way in self.known.items() if under_way}

    async def take_back(self, digest: str, revision: int) -> bool:
        self._check()
        if self.silent:
            raise BrokerUnavailable("away")
        if self._revisions.get(digest) != revision:
            return False
        self._say(digest, under_way=False)
        return True

    def _say(self, digest: str, *, under_way: bool) -> None:
        self.known[digest] = under_way
        self._revisions[digest] = self._revisions.get(digest, 0) + 1


def _accepted(known: OpenCompletion | None) -> int:
    return known.accepted_at if known is not None else 0
