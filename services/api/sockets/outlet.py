"""What waits to be sent to one socket: bounded, and chunks joined where they would repeat much."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from services.api.schemas.sockets import AiMessageChunk, Participants, ServerMessage, SocketError
from services.api.sockets.spoken import Spoken
from services.api.sockets.turn import refusal
from shared.contracts.ids import CompletionId
from shared.errors import ChatError, FramesGone

_SHARE: Final = 16
"""With the full text in every chunk, one is sent when a sixteenth of the text is new: so all of
them together are about seventeen times the text, however long it gets."""
_LAG: Final = 3.0
"""Seconds that a piece waits for that at most, while the answer is young."""
_AGES: Final = 8
"""Later an eighth of the answer's age: every three seconds would cost the square of its time. A
steady engine has said a sixteenth before that, however slow it is."""
_MOST_BYTES: Final = 8 * 2**20
_REMEMBERED: Final = 8
_UNKNOWN: Final = (
    "The pieces after this event are no longer kept one by one; the whole answer follows."
)


class _Sent(NamedTuple):
    """How much of an answer has been sent, in characters, and when."""

    length: int
    thought: int
    at: float
    since: float
    """When the first piece was sent."""


class Outlet:
    """One socket as rooms see it; ``take`` is called by the one task that writes to it."""

    def __init__(
        self,
        name: str,
        *,
        full: bool,
        clock: Callable[[], float],
        presence: bool = False,
        refused: Callable[[ChatError], None] | None = None,
    ) -> None:
        """Nothing waits.

        Args:
            name: Of the socket, as other participants see it.
            full: Whether chunks carry all of the text so far.
            clock: Monotonic seconds.
            presence: Whether it wants to know how many others there are.
            refused: Called for each thing that it has asked for in vain.
        """
        self.name = name
        self.presence = presence
        self.close_code: int | None = None
        """Set when the socket is to be closed after what waits."""
        self.closing = asyncio.Event()
        self._refused = refused
        self._full = full
        self._clock = clock
        self._waiting: deque[str] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._sent: dict[CompletionId, _Sent] = {}
        self._after: dict[CompletionId, int] = {}
        self._held: set[CompletionId] = set()
        self._ended: deque[CompletionId] = deque(maxlen=_REMEMBERED)
        self._participants: int | None = None

    def send(self, message: ServerMessage) -> None:
        """Put a message behind what waits; a socket that takes too little is to be closed."""
        if self.close_code is not None:
            return
        text = message.model_dump_json()
        self._bytes += len(text.encode())
        if self._bytes > _MOST_BYTES:
            self.close(SLOW)
            return
        self._waiting.append(text)
        self._news.set()

    def refuse(self, error: ChatError, completion_id: CompletionId | None = None) -> None:
        """Say why what it has asked for is not done."""
        if self._refused is not None:
            self._refused(error)
        self.send(refusal(error, completion_id))

    def present(self, news: Participants) -> None:
        """Tell who wants to know, if it is news."""
        if self.presence and news.participants != self._participants:
            self._participants = news.participants
            self.send(news)

    def close(self, code: int) -> None:
        """Let the socket be closed; the first reason counts."""
        if self.close_code is None:
            self.close_code = code
        if code in _AT_ONCE:
            self._waiting.clear()
        self._news.set()
        self.closing.set()

    @property
    def drops(self) -> bool:
        """Whether even what waits is not to be sent."""
        return self.close_code in _AT_ONCE

    def hold(self, completion_id: CompletionId) -> None:
        """Nothing of this answer is to be sent before ``resume``."""
        self._held.add(completion_id)

    def resume(self, completion_id: CompletionId, after: int) -> None:
        """Go on after the event ``after``, whatever was sent before."""
        self._held.discard(completion_id)
        self._after[completion_id] = after
        if completion_id in self._ended:
            self._ended.remove(completion_id)

    def end(self, completion_id: CompletionId, message: ServerMessage) -> None:
        """Say how an answer ended: once, though two may have read it for this socket."""
        if completion_id in self._ended:
            return
        self._ended.append(completion_id)
        self._after.pop(completion_id, None)
        self._held.discard(completion_id)
        self._sent.pop(completion_id, None)
        self.send(message)

    def progress(self, completion_id: CompletionId, spoken: Spoken, *, flush: bool = False) -> None:
        """Send what is new of an answer, if it is enough or has waited for long enough."""
        if self.close_code is not None or completion_id in self._ended:
            return
        now, after = self._clock(), self._after.get(completion_id)
        if completion_id in self._held or (after is not None and spoken.index < after):
            # Its client has that already: it is only just being read here.
            return
        if after is not None and not spoken.knows(after):
            self._tell_of_gap(completion_id)
            return
        sent = self._sent.get(completion_id, _Sent(0, 0, now, now))
        if after is not None:
            sent = _Sent(*spoken.ends_of(after), sent.at, sent.since)
        fresh = spoken.length - sent.length + spoken.thinking.length - sent.thought
        if fresh <= 0:
            return
        patience = max(_LAG, (now - sent.since) / _AGES)
        enough = not self._full or fresh * _SHARE >= sent.length or now - sent.at >= patience
        if not (flush or enough or after is not None):
            return
        self.send(
            AiMessageChunk(
                content=spoken.since(sent.length),
                full_content=spoken.text if self._full else None,
                thinking=spoken.thinking.since(sent.thought) or None,
                completion_id=completion_id,
                index=spoken.index,
                resumed=True if after is not None else None,
            )
        )
        self._after.pop(completion_id, None)
        self._sent[completion_id] = _Sent(spoken.length, spoken.thinking.length, now, sent.since)
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]

    def _tell_of_gap(self, completion_id: CompletionId) -> None:
        # Anything said from here on would be said twice, or leave a hole.
        self._after.pop(completion_id, None)
        self.hold(completion_id)
        self.send(SocketError(message=_UNKNOWN, code=FramesGone.code, completion_id=completion_id))

    async def take(self, until: float) -> list[str]:
        """What waits, once something does, the socket is to be closed, or it is ``until``."""
        if not self._waiting and self.close_code is None:
            self._news.clear()
            try:
                async with asyncio.timeout(max(until - self._clock(), 0)):
                    await self._news.wait()
            except TimeoutError:
                return []
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def done(self, text: str) -> None:
        """This text has gone out: until then it takes memory."""
        self._bytes -= len(text.encode())


BROKEN: Final = 1011
RESTART: Final = 1012
SLOW: Final = 1013
BAD_ADDRESS: Final = 4400
NOT_AUTHENTICATED: Final = 4401
NO_SESSION: Final = 4404
IDLE: Final = 4408
TOO_MANY: Final = 4429

_AT_ONCE: Final = frozenset({SLOW, NOT_AUTHENTICATED})
"""What waits is not sent any more: nobody takes it, or nobody may have it."""
REASONS: Final = {
    BROKEN: "Something went wrong in the gateway; connect again.",
    RESTART: "Connect again: this gateway restarts, or has missed something.",
    SLOW: "Connect again: too little was read, or a part of Parley is away.",
    BAD_ADDRESS: "The address names no session: its id is no UUID.",
    NOT_AUTHENTICATED: "The token is not valid, or no longer.",
    NO_SESSION: "The session does not exist, or no longer.",
    IDLE: "No message came for too long; send ping.",
    TOO_MANY: "Too many sockets, or too many messages.",
}
"""What a close says beside its code; at most 123 bytes."""
