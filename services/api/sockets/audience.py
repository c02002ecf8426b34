"""The sockets of one session at this gateway, and what of a turn they are shown."""

from services.api.completions.answers import to_message_body
from services.api.ports.queue_news import QueueNews
from services.api.schemas.sockets import AiTyping, Queued, ServerMessage, SocketError, UserMessage
from services.api.sockets.outlet import NO_SESSION, Outlet
from services.api.sockets.turn import Turn, last_word, refusal
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.errors import ChatError, SessionNotFound


class Audience:
    """Shows each turn in one order: question, sign of thinking, queue, pieces, end."""

    def __init__(self) -> None:
        self.outlets: set[Outlet] = set()
        self._coming: set[Outlet] = set()

    def expect(self, outlet: Outlet) -> None:
        """One that is being let in: it is shown nothing yet, but a deletion is for it, too."""
        self._coming.add(outlet)

    def enter(self, outlet: Outlet, turn: Turn | None, hold: CompletionId | None) -> None:
        """Show a newcomer the turn that is under way; nothing of the answer ``hold``."""
        self._coming.discard(outlet)
        self.outlets.add(outlet)
        if hold is not None:
            outlet.hold(hold)
        if turn is None or not turn.shown or turn.over:
            return
        for message in _beginning(turn):
            outlet.send(message)
        outlet.progress(turn.completion_id, turn.spoken, flush=True)

    def leave(self, outlet: Outlet) -> None:
        """One is gone."""
        self.outlets.discard(outlet)
        self._coming.discard(outlet)

    def close(self, code: int) -> None:
        """Close all."""
        if code == NO_SESSION:
            gone = SessionNotFound("This session has been deleted.")
            self.tell(SocketError(message=gone.message, code=gone.code))
        for outlet in [*self.outlets, *self._coming]:
            outlet.close(code)

    def tell(self, message: ServerMessage, *, but: str | None = None) -> None:
        """Send it to everybody here, but one."""
        for outlet in list(self.outlets):
            if outlet.name != but:
                outlet.send(message)

    def begin(self, turn: Turn) -> None:
        """A turn is shown from now on."""
        turn.shown = True
        for message in _beginning(turn):
            self.tell(message, but=turn.told)

    def wait(self, turn: Turn, news: QueueNews) -> None:
        """It stands so in the queue; told once it has begun, and never after a piece."""
        turn.news = news
        if turn.shown and turn.waits and not turn.over:
            self.tell(_queued(turn, news), but=turn.told)

    def progress(self, turn: Turn, *, flush: bool = False) -> None:
        """There is more of it."""
        for outlet in self._viewers(turn):
            outlet.progress(turn.completion_id, turn.spoken, flush=flush)

    def end(self, turn: Turn, end: CompletionCompleted) -> None:
        """It is over."""
        self.progress(turn, flush=True)
        self._say_last(turn, last_word(turn, end))

    def fail(self, turn: Turn, error: ChatError) -> None:
        """It cannot be read to its end."""
        self._say_last(turn, refusal(error, turn.completion_id))

    def _say_last(self, turn: Turn, message: ServerMessage) -> None:
        for outlet in self._viewers(turn):
            outlet.end(turn.completion_id, message)

    def _viewers(self, turn: Turn) -> list[Outlet]:
        return [outlet for outlet in self.outlets if outlet.name != turn.told]


def _beginning(turn: Turn) -> list[ServerMessage]:
    messages: list[ServerMessage] = []
    if turn.question is not None:
        body = to_message_body(turn.question)
        messages.append(UserMessage(message=body, completion_id=turn.completion_id))
    place = turn.place
    messages.append(
        AiTyping(
            completion_id=turn.completion_id,
            message_id=place.message_id if place is not None else None,
            parent_id=place.parent_id if place is not None else None,
            unavailable_tools=list(turn.unavailable_tools) or None,
        )
    )
    if turn.news is not None and turn.waits:
        messages.append(_queued(turn, turn.news))
    return messages


def _queued(turn: Turn, news: QueueNews) -> Queued:
    return Queued(
        completion_id=turn.completion_id,
        position=news.position,
        estimated_wait_ms=news.estimated_wait_ms,
    )
