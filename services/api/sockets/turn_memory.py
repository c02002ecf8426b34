"""Which turns of a session this gateway has seen: each is shown once, and a gap is noticed."""

from collections import deque
from typing import Final

from services.api.sockets.turn import Turn
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId

_KNOWN: Final = 64


class TurnMemory:
    """The last turns, and the number of the newest: sessions count theirs without a gap."""

    def __init__(self) -> None:
        self._known: deque[CompletionId] = deque(maxlen=_KNOWN)
        self._number = 0
        self.expected: CompletionId | None = None
        """What this gateway is about to ask for: one at a time."""
        self._announced = False
        self._refused: deque[tuple[CompletionId, str]] = deque(maxlen=_KNOWN)

    def add(self, completion_id: CompletionId) -> bool:
        """Whether it is new, which it is no longer then."""
        if completion_id == self.expected:
            self._announced = True
            return False
        if completion_id in self._known:
            return False
        self._known.append(completion_id)
        return True

    def expect(self, completion_id: CompletionId) -> None:
        """Its announcement will be nothing new."""
        self._known.append(completion_id)
        self.expected, self._announced = completion_id, False

    def refuse(self, completion_id: CompletionId, asker: str) -> bool:
        """Nothing came of what was expected; whether it was announced, so that others see it."""
        self.expected = None
        self._refused.append((completion_id, asker))
        if completion_id in self._known:
            self._known.remove(completion_id)
        return self._announced

    def told(self, completion_id: CompletionId) -> str | None:
        """The socket that asked for it and has been told that it was refused."""
        return dict(self._refused).get(completion_id)

    def begin(self, completion_id: CompletionId) -> None:
        """It is expected no more: it is there."""
        if completion_id == self.expected:
            self.expected = None

    def stands_at(self, number: int) -> None:
        """Turns up to this one were over before anybody came."""
        self._number = max(number, self._number)

    def skips(self, turn: Turn) -> bool:
        """Whether there were others before this one, unseen here."""
        return turn.missed and turn.place is not None and turn.place.turn > self._number + 1

    def ended(self, turn: Turn, end: CompletionCompleted) -> None:
        """Count it; the number of one that was rejected is given again."""
        if turn.place is not None and end.status is not CompletionStatus.REJECTED:
            self.stands_at(turn.place.turn)
