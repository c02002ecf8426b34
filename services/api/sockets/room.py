"""A session at this gateway, while sockets of it are open here: one reader for all of them."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog

from services.api.background import Background
from services.api.completions.announcing import Announcing
from services.api.completions.turn_lease import TurnLeases
from services.api.ports.live import Live
from services.api.ports.queue_news import QueueNews
from services.api.ports.viewers import Listening
from services.api.schemas.sockets import ParticipantTyping
from services.api.sockets.audience import Audience
from services.api.sockets.outlet import NO_SESSION, RESTART, Outlet
from services.api.sockets.presence import Presence
from services.api.sockets.turn import Turn
from services.api.sockets.turn_feeds import TurnFeeds
from services.api.sockets.turn_memory import TurnMemory
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.contracts.live import HISTORY, LiveEvent
from shared.errors import (
    BrokerUnavailable,
    ChatError,
    HistoryUnavailable,
    ServerShutdown,
    SessionNotFound,
)
from shared.tasks import end_tasks

log = structlog.stdlib.get_logger(__name__)

_TRIES: Final = 20
_AGAIN: Final = 1.0
_SELDOM: Final = 30.0


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
        must_exist: Callable[[], Awaitable[object]],
    ) -> None:
        """Nobody is here, and nothing is known.

        Args:
            user_id: Whose session.
            session_id: Which.
            live: Where its turns are announced.
            feeds: Reads them.
            leases: Know which is running, when announcements were missed.
            announcing: Tells the other gateways.
            background: Runs what is to be looked up.
            clock: Monotonic seconds.
            must_exist: Raises ``SessionNotFound`` once the session is deleted.
        """
        self.user_id = user_id
        self.session_id = session_id
        self.audience = Audience()
        say = partial(announcing.present, user_id, session_id)
        self._presence = Presence(self.audience.outlets, live.gateway_id, say, clock)
        self._must_exist = must_exist
        self._live = live
        self._feeds = feeds
        self._leases = leases
        self._announcing = announcing
        self._background = background
        self._turns: asyncio.Queue[Turn] = asyncio.Queue()
        self._turn: Turn | None = None
        self.memory = TurnMemory()
        self._open_turns: dict[CompletionId, Turn] = {}
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
        self.audience.enter(outlet, self._turn, None if join else self.running)
        self._presence.changed()

    def leave(self, outlet: Outlet) -> None:
        """One is gone."""
        self.audience.leave(outlet)
        self._presence.changed()

    def show(self, turn: Turn) -> None:
        """Show a turn after those that are under way."""
        self.memory.begin(turn.completion_id)
        self._open_turns[turn.completion_id] = turn
        self._turns.put_nowait(turn)

    def refuse(self, completion_id: CompletionId, outlet: Outlet) -> None:
        """``outlet`` is told why; the others are shown what was announced, as everywhere."""
        if self.memory.refuse(completion_id, outlet.name):
            self._follow(completion_id)

    @property
    def running(self) -> CompletionId | None:
        """The completion that is shown now, or is about to be."""
        return next(iter(self._open_turns), None) or self.memory.expected

    def resume(self, outlet: Outlet, completion_id: CompletionId, after: int) -> bool:
        """Say what is under way again to one outlet; false if that is something else."""
        turn = self._open_turns.get(completion_id)
        if turn is None:
            return False
        outlet.resume(completion_id, after)
        outlet.progress(completion_id, turn.spoken, flush=True)
        return True

    async def _open(self) -> None:
        self._listening = await self._live.listen(
            self.user_id, self.session_id, self._heard, self.look_again
        )
        await self._look(first=True)
        self._showing = asyncio.create_task(self._show_all(), name="room-shows")

    def _heard(self, event: LiveEvent) -> None:
        gateway, _, socket = event.origin.partition("/")
        if event.type == "turn_started" and event.completion_id is not None:
            self._follow(event.completion_id)
        elif event.type == "typing" or event.type == "stop_typing":
            self.audience.tell(ParticipantTyping(type=event.type, participant=socket), but=socket)
        elif event.type == "queued" and gateway != self._live.gateway_id:
            if event.completion_id is not None and event.position is not None:
                news = QueueNews(event.position, event.estimated_wait_ms)
                self._wait(event.completion_id, news)
        elif event.type == "present" and event.participants is not None:
            self._presence.heard(gateway, event.participants, asks=event.asks)
        elif event.type == "session_deleted" and event.origin == HISTORY:
            self.audience.close(NO_SESSION)
        elif event.type == "session_deleted":
            self.look_again()  # Deleted once more, by who may not know that it is back.

    def _wait(self, completion_id: CompletionId, news: QueueNews) -> None:
        self._follow(completion_id)
        if (turn := self._open_turns.get(completion_id)) is not None:
            self.audience.wait(turn, news)

    def look_again(self) -> None:
        """Something was missed: perhaps turns, perhaps that the session was deleted."""
        self._background.spawn(self._find_out(), "room-looks")

    async def _find_out(self) -> None:
        looked = False
        for tries in itertools.count():
            try:
                if not looked:
                    await self._look(first=False)
                    looked = True
                await self._must_exist()
            except SessionNotFound:
                self.audience.close(NO_SESSION)
            except (BrokerUnavailable, HistoryUnavailable):
                if not looked and tries >= _TRIES:
                    # Whoever comes back looks anew.
                    self.audience.close(RESTART)
                if self.audience.outlets:
                    await asyncio.sleep(min(_AGAIN * (1 + tries / 4), _SELDOM))
                    continue
            return

    async def _look(self, *, first: bool) -> None:
        held = await self._leases.look(self.session_id)
        if held is None or (state := held.state).user_id != self.user_id:
            return
        if state.last is not None and first:
            # It was over before anybody came here.
            self.memory.add(state.last)
            place = await self._feeds.place_of(state.last)
            self.memory.stands_at(place.turn if place is not None else 0)
        for completion_id in (state.last, state.running):
            if completion_id is not None:
                self._follow(completion_id, missed=not first)

    def _follow(self, completion_id: CompletionId, *, missed: bool = False) -> None:
        if completion_id not in self._open_turns and self.memory.add(completion_id):
            self.show(Turn(completion_id, missed=missed, told=self.memory.told(completion_id)))

    async def _show_all(self) -> None:
        while True:
            self._turn = turn = await self._turns.get()
            try:
                await self._show(turn)
            except ServerShutdown:
                # Its sockets are closed, and go on at another gateway.
                log.info("turn_left_to_others", completion_id=turn.completion_id)
            except ChatError as error:
                self.audience.fail(turn, error)
            except Exception:
                log.exception("turn_not_shown", completion_id=turn.completion_id)
                failure = ChatError("This answer cannot be shown; read the session.")
                self.audience.fail(turn, failure)
            finally:
                turn.over = True
                self._open_turns.pop(turn.completion_id, None)

    async def _show(self, turn: Turn) -> None:
        def begun() -> None:
            if self.memory.skips(turn):
                self.audience.close(RESTART)
            self.audience.begin(turn)

        def queued(news: QueueNews) -> None:
            if news != turn.news:
                self.audience.wait(turn, news)
                self._announcing.queued(self.user_id, self.session_id, turn.completion_id, news)

        progress = partial(self.audience.progress, turn)
        end = await self._feeds.read(self.user_id, turn, begun, progress, queued)
        self.audience.end(turn, end)
        self.memory.ended(turn, end)


MakeRoom = Callable[[UserId, SessionId], Room]
