"""A session at this gateway, while sockets of it are open here: one reader for all of them."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from services.api.background import Background
from services.api.completions.announcing import Announcing
from services.api.completions.turn_lease import TurnLeases
from services.api.ports.live import Live
from services.api.ports.queue_news import QueueNews
from services.api.ports.viewers import Listening
from services.api.schemas.sockets import (
    AiTyping,
    ParticipantTyping,
    Queued,
    ServerMessage,
    UserMessage,
)
from services.api.sockets.outlet import NO_SESSION, RESTART, Outlet
from services.api.sockets.presence import Presence
from services.api.sockets.turn_feeds import Turn, TurnFeeds, refusal
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.contracts.live import LiveEvent
from shared.errors import BrokerUnavailable, ChatError, ServerShutdown
from shared.tasks import end_tasks

log = structlog.stdlib.get_logger(__name__)

_KNOWN: Final = 64
_TRIES: Final = 20
_AGAIN: Final = 1.0


class Room:
    """Shows every turn to all outlets: question, sign of thinking, pieces, end; one by one."""

    def __init__(
        self,
        user_id: UserId,
        session_id: SessionId,
        *,
        live: Live,
        feeds: TurnFeeds,
        leases: TurnLeases,
        announcing: Announcing,
        background: Background,
        clock: Callable[[], float],
    ) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.outlets: set[Outlet] = set()
        say = partial(announcing.present, user_id, session_id)
        self._presence = Presence(self.outlets, live.gateway_id, say, clock)
        self._live = live
        self._feeds = feeds
        self._leases = leases
        self._announcing = announcing
        self._background = background
        self._turns: asyncio.Queue[Turn] = asyncio.Queue()
        self._turn: Turn | None = None
        self._known: deque[CompletionId] = deque(maxlen=_KNOWN)
        self._open_turns: dict[CompletionId, Turn] = {}
        self._expected: list[CompletionId] = []
        self._listening: Listening | None = None
        self._showing: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Wait until it hears what happens, and knows what is under way.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="room-opens")
        await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Nobody is here any more; a turn that was asked for here goes on for its grace."""
        await self._presence.close()
        await end_tasks([task for task in (self._opening, self._showing) if task is not None])
        if self._listening is not None:
            await self._listening.close()
        while not self._turns.empty():
            reading = self._turns.get_nowait().reading
            if reading is not None:
                reading.abandon()

    def enter(self, outlet: Outlet, *, join: bool) -> None:
        """Show a newcomer what is under way; without ``join`` only what comes from now on."""
        self.outlets.add(outlet)
        turn = self._turn
        if not join and self.running is not None:
            outlet.hold(self.running)
        if turn is not None and turn.shown and not turn.over:
            outlet.send(AiTyping(completion_id=turn.completion_id))
            outlet.progress(turn.completion_id, turn.spoken, flush=True)
        self._presence.changed()

    def leave(self, outlet: Outlet) -> None:
        """One is gone."""
        self.outlets.discard(outlet)
        self._presence.changed()

    def expect(self, completion_id: CompletionId) -> None:
        """This gateway is about to ask for it: its announcement is nothing new."""
        self._known.append(completion_id)
        self._expected.append(completion_id)

    def refuse(self, completion_id: CompletionId) -> None:
        """Nothing came of what was expected."""
        self._expected.remove(completion_id)
        if completion_id in self._known:
            self._known.remove(completion_id)

    def show(self, turn: Turn) -> None:
        """Show a turn after those that are under way."""
        if turn.completion_id in self._expected:
            self._expected.remove(turn.completion_id)
        self._open_turns[turn.completion_id] = turn
        self._turns.put_nowait(turn)

    @property
    def running(self) -> CompletionId | None:
        """The completion that is shown now, or is about to be."""
        return next(iter(self._open_turns), None) or next(iter(self._expected), None)

    def resume(self, outlet: Outlet, completion_id: CompletionId, after: int) -> bool:
        """Say what is under way again to one outlet; false if that is something else."""
        turn = self._open_turns.get(completion_id)
        if turn is None:
            return False
        outlet.resume(completion_id, after)
        outlet.progress(completion_id, turn.spoken, flush=True)
        return True

    def tell(self, message: ServerMessage, *, but: str | None = None) -> None:
        """Send it to everybody here, but one."""
        for outlet in list(self.outlets):
            if outlet.name != but:
                outlet.send(message)

    async def _open(self) -> None:
        self._listening = await self._live.listen(
            self.user_id, self.session_id, self._heard, self._missed
        )
        await self._look(first=True)
        self._showing = asyncio.create_task(self._show_all(), name="room-shows")

    def _heard(self, event: LiveEvent) -> None:
        gateway, _, socket = event.origin.partition("/")
        if event.type == "turn_started" and event.completion_id is not None:
            self._follow(event.completion_id)
        elif event.type == "typing" or event.type == "stop_typing":
            self.tell(ParticipantTyping(type=event.type, participant=socket), but=socket)
        elif event.type == "queued" and gateway != self._live.gateway_id:
            if event.completion_id is not None and event.position is not None:
                self.tell(Queued(position=event.position, completion_id=event.completion_id))
        elif event.type == "present" and event.participants is not None:
            self._presence.heard(gateway, event.participants, asks=event.asks)
        elif event.type == "session_deleted":
            for outlet in list(self.outlets):
                outlet.close(NO_SESSION)

    def _missed(self) -> None:
        self._background.spawn(self._look_again(), "room-looks")

    async def _look_again(self) -> None:
        for _ in range(_TRIES):
            try:
                await self._look(first=False)
            except BrokerUnavailable:
                await asyncio.sleep(_AGAIN)
            else:
                return
        # Whoever comes back looks anew.
        for outlet in list(self.outlets):
            outlet.close(RESTART)

    async def _look(self, *, first: bool) -> None:
        held = await self._leases.look(self.session_id)
        state = held.state if held is not None else None
        if state is None or state.user_id != self.user_id:
            return
        if state.last is not None and first:
            # It was over before anybody came here.
            self._known.append(state.last)
        for missed in (state.last, state.running):
            if missed is not None:
                self._follow(missed)

    def _follow(self, completion_id: CompletionId) -> None:
        if completion_id not in self._known and completion_id not in self._open_turns:
            self._known.append(completion_id)
            self.show(Turn(completion_id))

    async def _show_all(self) -> None:
        while True:
            self._turn = turn = await self._turns.get()
            try:
                await self._show(turn)
            except ServerShutdown:
                # Its sockets are closed, and go on at another gateway.
                log.info("turn_left_to_others", completion_id=turn.completion_id)
            except ChatError as error:
                self.tell(refusal(error, turn.completion_id))
            except Exception:
                log.exception("turn_not_shown", completion_id=turn.completion_id)
            finally:
                turn.over = True
                self._open_turns.pop(turn.completion_id, None)

    async def _show(self, turn: Turn) -> None:
        def begun() -> None:
            turn.shown = True
            if turn.question is not None:
                body = self._feeds.body_of(turn.question)
                self.tell(UserMessage(message=body, completion_id=turn.completion_id))
            self.tell(AiTyping(completion_id=turn.completion_id))

        def progress(*, flush: bool = False) -> None:
            for outlet in list(self.outlets):
                outlet.progress(turn.completion_id, turn.spoken, flush=flush)

        def queued(news: QueueNews) -> None:
            if news == turn.news:
                return
            turn.news = news
            waits = {"position": news.position, "estimated_wait_ms": news.estimated_wait_ms}
            self.tell(Queued(completion_id=turn.completion_id, **waits))
            place = (self.user_id, self.session_id, turn.completion_id)
            self._announcing.queued(*place, news.position)

        end = await self._feeds.read(self.user_id, turn, begun, progress, queued)
        progress(flush=True)
        for outlet in list(self.outlets):
            outlet.forget(turn.completion_id)
        self.tell(self._feeds.last_word(turn.completion_id, turn.spoken, end, turn.question))


MakeRoom = Callable[[UserId, SessionId], Room]
