"""``PurgeMarks``, ``UserStore``, ``Traces`` and ``PurgeWords`` in memory."""

from collections.abc import Collection, Sequence

from services.history.records import OpenCompletion
from services.history.user_ports import PurgeMark
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.user_purge import UserData
from shared.errors import BrokerUnavailable
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

    async def swept(self, digest: str, at: int, running: Collection[CompletionId]) -> None:
        mark = self.marks[digest]
        known = sorted({*(mark.running or ()), *running})
        self.marks[digest] = mark.model_copy(update={"swept_at": at, "running": known})

    async def finish(self, digest: str, at: int) -> None:
        gone = {"user_id": None, "running": None, "finished_at": at}
        self.marks[digest] = self.marks[digest].model_copy(update=gone)

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
        return UserData(
            sessions=len(self._of(store.sessions, user_id)),
            messages=len(self._of(store.stored_messages, user_id)),
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

    async def remove(self, user_id: UserId) -> bool:
        store, left = self._store, False
        for place in (store.sessions, store.stored_messages, store.usage, self._presets.presets):
            left = self._remove_one(place, user_id) or left
        for key in [key for key in store.terms if key[0] == user_id]:
            del store.terms[key]
        self._settings.by_user.pop(user_id, None)
        for completion_id in store.known_of(user_id):
            store.open.pop(completion_id, None)
            store.ended.pop(completion_id, None)
            store.enders.pop(completion_id, None)
        return left

    def _remove_one(self, place: dict, user_id: UserId) -> bool:  # type: ignore[type-arg]
        for key in self._of(place, user_id)[:1]:
            del place[key]
            return True
        return False

    def _of(self, place: dict, user_id: UserId) -> list:  # type: ignore[type-arg]
        return [key for key, record in place.items() if record.user_id == user_id]


class MemoryTraces:
    """Remembers what it was asked; ``events`` are found once."""

    def __init__(self) -> None:
        self.events: dict[CompletionId, bool] = {}
        self.requests: list[CompletionId] = []
        self.frames: list[set[CompletionId]] = []
        self.holders: list[tuple[UserId, list[str]]] = []
        self.letters: list[UserId] = []
        self.failures = 0

    async def frames_since(self, now: int) -> int:
        return 0

    async def remove_events(self, user_id: UserId) -> dict[CompletionId, bool]:
        if self.failures:
            self.failures -= 1
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
        self.said: dict[str, bool] = {}
        self.available = True

    def _check(self) -> None:
        if not self.available:
            raise BrokerUnavailable("away")

    async def under_way(self, digest: str) -> None:
        self._check()
        self.said[digest] = True

    async def over(self, digest: str) -> None:
        self._check()
        self.said[digest] = False


def _accepted(known: OpenCompletion | None) -> int:
    return known.accepted_at if known is not None else 0
