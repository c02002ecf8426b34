"""Events that can be resumed: each says its id, and what the reader has already is left out."""

import re
from typing import Final

from shared.contracts.ids import CompletionId
from shared.errors import FramesGone, InvalidRequest

_NUMBER: Final = re.compile(r"-1|[0-9]{1,10}")
_BLANK: Final = b"\n\n"

FROM_THE_START: Final = -1


RESUME_HEADER: Final = "X-Stream-Resume"
_YES: Final = frozenset({"true", "1", "yes", "on"})
_NO: Final = frozenset({"", "false", "0", "no", "off"})


def wants_ids(value: str | None) -> bool:
    """Whether ``X-Stream-Resume`` asks for a stream that can be resumed.

    Raises:
        InvalidRequest: it says neither yes nor no: who believes to be safe must not find out late.
    """
    said = (value or "").strip().lower()
    if said not in _YES | _NO:
        message = f"The header {RESUME_HEADER} must be true or false."
        raise InvalidRequest(message, param=RESUME_HEADER)
    return said in _YES


class Numbering:
    """Puts ``id: <completion id>:<index>`` before each event after ``after``."""

    def __init__(self, completion_id: CompletionId, after: int = FROM_THE_START) -> None:
        self._id = completion_id
        self._prefix = f"id: {completion_id}:".encode()
        self._after = after
        self._next = 0

    def dress(self, body: bytes, first: int, next_index: int) -> bytes:
        """The events from ``first`` to before ``next_index`` as the reader gets them.

        One event may stand for several that were lost; its id is that of the last of them.

        Raises:
            FramesGone: it holds both what the reader has and what it lacks.
        """
        self._next = next_index
        if next_index - first == 1:
            return b"%b%d\n%b" % (self._prefix, first, body) if first > self._after else b""
        if next_index - 1 <= self._after:
            # What stands for no index at all opens an empty answer.
            return body if next_index == first and self._after < 0 else b""
        events = body.split(_BLANK)[:-1]
        if len(events) != next_index - first:
            if first <= self._after:
                raise frames_gone(self._id)
            return b"%b%d\n%b" % (self._prefix, next_index - 1, body)
        return b"".join(
            b"%b%d\n%b%b" % (self._prefix, index, event, _BLANK)
            for index, event in enumerate(events, first)
            if index > self._after
        )

    def end(self, events: int) -> bytes:
        """The id line of the event that follows all ``events``, or more where more were sent."""
        return b"%b%d\n" % (self._prefix, max(events, self._next))


def read_cursor(
    completion_id: str, starting_after: str | None, last_event_id: str | None
) -> int | None:
    """The index after which to go on; ``None`` where the client names none.

    A client that reconnects by itself repeats its address and adds the header, which is newer.

    Raises:
        InvalidRequest: malformed, or of another completion.
    """
    if last_event_id:
        owner, _, number = last_event_id.rpartition(":")
        if owner != completion_id or not number.isascii() or _NUMBER.fullmatch(number) is None:
            message = "Last-Event-ID must be the id of an event of this completion."
            raise InvalidRequest(message, param="Last-Event-ID")
        return int(number)
    if starting_after is None:
        return None
    if _NUMBER.fullmatch(starting_after) is None:
        message = "The parameter starting_after must be the index of an event, or -1 for the start."
        raise InvalidRequest(message, param="starting_after")
    return int(starting_after)


def frames_gone(completion_id: CompletionId) -> FramesGone:
    """The stream is not kept any more, the answer is."""
    message = (
        "The stream of this completion is no longer kept from there on; "
        f"GET /v1/chat/completions/{completion_id} has its answer."
    )
    return FramesGone(message)


def from_the_future(after: int) -> InvalidRequest:
    """Nobody can have that event yet."""
    message = f"This completion has no event {after} yet."
    return InvalidRequest(message, param="starting_after")
