"""The models that live workers offer: entries age by this process's own clock."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from services.api.ports.broker import Clock
from shared.contracts import subjects
from shared.contracts.workers import ModelCard, WorkerAnnouncement

_LATEST: Final = ":latest"
_CONFIRM: Final = 5.0
"""Seconds in which a live worker has put its entry again (it does every 4)."""


@dataclass
class _Entry:
    announcement: WorkerAnnouncement
    expires: float


class Offer(NamedTuple):
    """A model under the name that clients see."""

    id: str
    card: ModelCard


def shown_name(name: str) -> str:
    """The name without ``:latest``; both are accepted."""
    return name.removesuffix(_LATEST)


class Catalog:
    """What workers have said of themselves, and for how long that counts."""

    def __init__(self, clock: Clock, *, age: float) -> None:
        self._clock = clock
        self._age = age
        self._entries: dict[str, _Entry] = {}

    def put(self, announcement: WorkerAnnouncement, *, stored: bool = False) -> None:
        """A worker lives.

        Args:
            announcement: What it says.
            stored: Whether this was read from the bucket, of unknown age: the worker must confirm
                it with its next put.
        """
        age = min(self._age, _CONFIRM) if stored else self._age
        expires = self._clock.monotonic() + age
        known = self._entries.get(announcement.worker_id)
        if stored and known is not None:
            expires = max(expires, known.expires)
        self._entries[announcement.worker_id] = _Entry(announcement, expires)

    def remove(self, worker_id: str) -> None:
        """A worker has left."""
        self._entries.pop(worker_id, None)

    def workers(self) -> list[WorkerAnnouncement]:
        """Those who live, by id."""
        now = self._clock.monotonic()
        for worker_id in [key for key, entry in self._entries.items() if entry.expires <= now]:
            del self._entries[worker_id]
        return [self._entries[key].announcement for key in sorted(self._entries)]

    def models(self) -> list[Offer]:
        """Every model once, however many workers have it, by name."""
        cards: dict[str, ModelCard] = {}
        for announcement in self.workers():
            for card in announcement.models:
                cards.setdefault(subjects.full_model_name(card.name), card)
        return [Offer(shown_name(name), cards[name]) for name in sorted(cards, key=shown_name)]

    def window(self, name: str) -> int | None:
        """Tokens of the widest context that a worker has for the model; ``None`` for any number."""
        full = subjects.full_model_name(name)
        windows = [
            card.context_length
            for announcement in self.workers()
            for card in announcement.models
            if subjects.full_model_name(card.name) == full
        ]
        known = [window for window in windows if window is not None]
        return max(known) if known and len(known) == len(windows) else None

    def find(self, name: str) -> Offer | None:
        """The model of this name, with or without ``:latest``."""
        wanted = shown_name(name)
        return next((offer for offer in self.models() if offer.id == wanted), None)
