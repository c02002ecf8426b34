"""Read one turn of a session for people: text instead of events, from whichever gateway asked."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from services.api.completions.attaching import Reading
from services.api.completions.following import Following
from services.api.ports.broker import Clock, Journal
from services.api.ports.queue_news import QueueNews
from services.api.sessions.turn_messages import question_of_turn
from services.api.sockets.spoken import Piece, Spoken, pieces
from services.api.sockets.turn import Turn
from services.api.streams.cursor import Cursor
from services.api.streams.delivery import Delivery
from services.api.streams.numbering import Numbering
from services.api.streams.sse import ChunkEncoder
from shared.contracts.completions import AnswerPlace
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.errors import (
    BrokerUnavailable,
    DeadlineExceeded,
    FramesGone,
)

log = structlog.stdlib.get_logger(__name__)

_BEAT: Final = 1.0
"""Seconds after which pieces that wait to be joined are looked at again."""
_AGAIN: Final = 1.0
_TRIES: Final = 60
"""How often, a second apart, a broker that is away is asked again."""


class TurnFeeds:
    """Reads turns to their ends."""

    def __init__(self, following: Following, journal: Journal, clock: Clock) -> None:
        self._following = following
        self._journal = journal
        self._clock = clock

    async def belongs(
        self, user_id: UserId, completion_id: CompletionId, session_id: SessionId
    ) -> bool:
        """Whether a completion is a turn of this session.

        Raises:
            CompletionNotFound: it is none of this user's.
            BrokerUnavailable: the broker is away.
        """
        turn = (await self._following.find(user_id, completion_id)).turn
        return turn is not None and turn.session_id == session_id

    async def place_of(self, completion_id: CompletionId) -> AnswerPlace | None:
        """Where its answer belongs, if it is of a session.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        accepted = await self._journal.accepted(completion_id)
        return accepted.place if accepted is not None else None

    async def read(
        self,
        user_id: UserId,
        turn: Turn,
        begun: Callable[[], None],
        progress: Callable[[], None],
        queued: Callable[[QueueNews], None],
    ) -> CompletionCompleted:
        """Fill ``turn.spoken`` until the end.

        Args:
            user_id: Whose.
            turn: What is to be read; without a reading it is followed.
            begun: Called once its question is known.
            progress: Called whenever there is more, and once in a while.
            queued: Called with how it stands in the queue.

        Raises:
            ChatError: it cannot be read on; ``shared.errors`` names the reasons.
        """
        accepted: CompletionAccepted | None = None
        if turn.reading is None:
            accepted = await self._find(user_id, turn.completion_id)
            turn.question, turn.place = question_of_turn(accepted), accepted.place
            turn.unavailable_tools = accepted.unavailable_tools or ()
        begun()
        reading, end = turn.reading, None
        for _ in range(_TRIES):
            try:
                if reading is None:
                    accepted = accepted or await self._find(user_id, turn.completion_id)
                    reading = await self._follow(accepted, turn.spoken.index)
                if reading is None:
                    break  # It is over, and all of it was said.
                end = await self._relay(reading, turn.spoken, progress, queued)
                break
            except BrokerUnavailable:
                await asyncio.sleep(_AGAIN)
            except FramesGone:
                end = await self._wait(turn.completion_id)
                break
            finally:
                if reading is not None:
                    reading.abandon()
                reading = None
        whole = await self._whole(turn.completion_id, end)
        _complete(turn.spoken, whole)
        return whole

    async def _find(self, user_id: UserId, completion_id: CompletionId) -> CompletionAccepted:
        for _ in range(_TRIES):
            try:
                return await self._following.find(user_id, completion_id)
            except BrokerUnavailable:
                await asyncio.sleep(_AGAIN)
        raise BrokerUnavailable("The message broker is away.")

    async def _follow(self, accepted: CompletionAccepted, after: int) -> Reading | None:
        completion_id = accepted.completion_id
        encoder = ChunkEncoder(
            completion_id, accepted.model, accepted.accepted_at, include_usage=False
        )
        delivery = Delivery(
            encoder.missing, Numbering(completion_id, after).dress, Cursor(completion_id, after)
        )
        return await self._following.follow(accepted, delivery, after)

    async def _relay(
        self,
        reading: Reading,
        spoken: Spoken,
        progress: Callable[[], None],
        queued: Callable[[QueueNews], None],
    ) -> CompletionCompleted:
        while True:
            step = await reading.next(self._clock.monotonic() + _BEAT)
            for piece in pieces(step.data):
                spoken.add(piece)
            progress()
            if step.end is not None:
                return step.end
            news = reading.queue_news
            if news is not None:
                queued(news)

    async def _wait(self, completion_id: CompletionId) -> CompletionCompleted | None:
        # The stream is not kept any more; what is recorded at the end has all of it.
        for _ in range(_TRIES):
            try:
                end = await self._journal.completed(completion_id)
            except BrokerUnavailable:
                end = None
            if end is not None:
                return end
            await asyncio.sleep(_AGAIN)
        return None

    async def _whole(
        self, completion_id: CompletionId, end: CompletionCompleted | None
    ) -> CompletionCompleted:
        # An end frame has no text.
        try:
            recorded = await self._journal.completed(completion_id)
        except BrokerUnavailable:
            recorded = None
        whole = recorded or end
        if whole is None:
            raise DeadlineExceeded("Nothing came of this completion in time.")
        return whole


def _complete(spoken: Spoken, whole: CompletionCompleted) -> None:
    rest = _rest(whole.text, spoken.text)
    thought = _rest(whole.thinking or "", spoken.thinking.text)
    if rest or thought:
        spoken.add(Piece(max(spoken.index + 1, whole.events - 1), rest, thought))


def _rest(whole: str, said: str) -> str:
    return whole[len(said) :] if whole.startswith(said) else ""
