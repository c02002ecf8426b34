"""The sessions that have open sockets here, and what their sockets may ask for."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from services.api.access.caller import Caller
from services.api.background import Background
from services.api.completions.announcing import Announcing
from services.api.completions.cancellations import Cancellations
from services.api.completions.completions import Completions
from services.api.completions.orders import Order
from services.api.completions.placing import place_planned
from services.api.completions.turn_states import busy
from services.api.limits.pace import Pace
from services.api.sessions.turn_messages import question_of
from services.api.sessions.turns import Wanted
from services.api.sockets.outlet import Outlet
from services.api.sockets.room import MakeRoom, Room
from services.api.sockets.turn import Turn, last_word
from services.api.sockets.turn_feeds import TurnFeeds
from services.api.streams.delivery import Delivery
from services.api.streams.numbering import Numbering
from services.api.streams.sse import ChunkEncoder
from shared.contracts.completions import AnswerPlace
from shared.contracts.history import SessionSettings
from shared.contracts.ids import CompletionId, SessionId, UserId, new_completion_id
from shared.contracts.live import LiveEvent
from shared.errors import ChatError, CompletionNotFound, QueueFull, SessionBusy, SessionNotFound
from shared.tasks import end_tasks

log = structlog.stdlib.get_logger(__name__)

_REPLAY: Final = 3600.0
_REPLAYS: Final = 4
"""Answers that one socket may have said again at once."""
_OF_A_USER: Final = 16
"""The same for all sockets of a user: each holds the whole answer."""

Plan = Callable[[Wanted], Awaitable[Order]]


class Rooms:
    """One room for each session with a socket; it closes behind the last of them."""

    def __init__(
        self,
        make: MakeRoom,
        *,
        feeds: TurnFeeds,
        completions: Completions,
        cancellations: Cancellations,
        announcing: Announcing,
        background: Background,
        pace: Pace,
    ) -> None:
        self._make = make
        self._feeds = feeds
        self._completions = completions
        self._cancellations = cancellations
        self._announcing = announcing
        self._background = background
        self._pace = pace
        self._rooms: dict[tuple[UserId, SessionId], Room] = {}
        self._guests: Counter[Room] = Counter()
        self._replaying: Counter[UserId] = Counter()
        self._replays: dict[Outlet, dict[CompletionId, asyncio.Task[None]]] = {}

    async def enter(self, user_id: UserId, session_id: SessionId) -> Room:
        """The session's room, when it hears what happens; ``leave`` it in any case.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        key = (user_id, session_id)
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = self._make(user_id, session_id)
        self._guests[room] += 1
        try:
            await room.ready()
        except BaseException:
            await self.leave(room, None)
            raise
        return room

    async def leave(self, room: Room, outlet: Outlet | None) -> None:
        """A socket has gone."""
        if outlet is not None:
            room.leave(outlet)
            await end_tasks(list(self._replays.pop(outlet, {}).values()))
        self._guests[room] -= 1
        if self._guests[room] <= 0:
            del self._guests[room]
            key = (room.user_id, room.session_id)
            if self._rooms.get(key) is room:
                del self._rooms[key]
            await room.close()

    def ask(
        self,
        room: Room,
        outlet: Outlet,
        plan: Plan,
        settings: SessionSettings,
        caller: Caller | None = None,
    ) -> None:
        """Run a turn and show it to the room; a refusal is told to the one who asked.

        One at a time: whoever asks meanwhile is told so before anything is planned or held.
        """
        if room.memory.expected is not None:
            outlet.refuse(busy(), room.memory.expected)
            return
        completion_id = new_completion_id()
        room.memory.expect(completion_id)
        self._background.spawn(
            self._ask(room, outlet, completion_id, plan, settings, caller), "socket-turn"
        )

    def stop(self, room: Room, outlet: Outlet, completion_id: CompletionId | None) -> None:
        """Stop the turn that is shown, or another one of the user's."""
        self._background.spawn(self._stop(room, outlet, completion_id), "socket-stop")

    def resume(self, room: Room, outlet: Outlet, completion_id: CompletionId, after: int) -> None:
        """Say an answer of this session again."""
        if completion_id == room.memory.expected:
            # It is about to be shown here.
            outlet.resume(completion_id, after)
            return
        if room.resume(outlet, completion_id, after):
            return
        replays = self._replays.setdefault(outlet, {})
        everywhere = self._replaying[room.user_id]
        if completion_id in replays or len(replays) >= _REPLAYS or everywhere >= _OF_A_USER:
            outlet.refuse(QueueFull("It is being said again already; wait for its end."))
            return
        replaying = self._background.spawn(
            self._replay(room, outlet, completion_id, after), "socket-resume"
        )
        replays[completion_id] = replaying
        self._replaying[room.user_id] += 1

        def over(_task: asyncio.Task[None]) -> None:
            replays.pop(completion_id, None)
            self._replaying[room.user_id] -= 1
            if not self._replaying[room.user_id]:
                del self._replaying[room.user_id]

        replaying.add_done_callback(over)

    def typing(self, room: Room, outlet: Outlet, *, begun: bool) -> None:
        """Tell the others."""
        event = LiveEvent(
            type="typing" if begun else "stop_typing",
            session_id=room.session_id,
            origin=f"{self._announcing.gateway_id}/{outlet.name}",
        )
        self._background.spawn(self._announcing.say(room.user_id, event), "socket-typing")

    async def _ask(
        self,
        room: Room,
        outlet: Outlet,
        completion_id: CompletionId,
        plan: Plan,
        settings: SessionSettings,
        caller: Caller | None,
    ) -> None:
        try:
            order = await plan(Wanted(completion_id, room.user_id, room.session_id, settings))
            order = replace(order, resumes=True, caller=caller)
            encoder = ChunkEncoder(
                completion_id, order.model, order.created_at, include_usage=False
            )
            delivery = Delivery(encoder.missing, Numbering(completion_id).dress)
            running = await self._completions.start(order, delivery)
        except ChatError as error:
            log.info("socket_message_failed", code=error.code, session_id=room.session_id)
            room.refuse(completion_id, outlet)
            # Whose session it is now: what was refused is nothing that a client could name.
            about = room.running if isinstance(error, SessionBusy) else completion_id
            outlet.refuse(error, about)
            if isinstance(error, SessionNotFound):
                room.look_again()
            return
        except BaseException:
            room.refuse(completion_id, outlet)
            raise
        self._pace.give_back(room.user_id)
        log.info("socket_turn", completion_id=completion_id, session_id=room.session_id)
        if room in self._guests:
            turn = Turn(completion_id, question_of(order), running, _place(order))
            turn.unavailable_tools = order.unavailable_tools
            room.show(turn)
        else:
            running.abandon()

    async def _stop(self, room: Room, outlet: Outlet, completion_id: CompletionId | None) -> None:
        wanted = completion_id or room.running
        try:
            if wanted is None:
                raise CompletionNotFound("Nothing is being answered here.", param="completion_id")
            if wanted == room.running:
                # It may not be accepted yet: the tombstone is there before it is run.
                await self._cancellations.stop(wanted)
            else:
                outcome = await self._cancellations.cancel(room.user_id, wanted)
                if outcome.already_ended:
                    raise CompletionNotFound("It has ended already.", param="completion_id")
        except ChatError as error:
            outlet.refuse(error)

    async def _replay(
        self, room: Room, outlet: Outlet, completion_id: CompletionId, after: int
    ) -> None:
        turn = Turn(completion_id)

        def progress(*, flush: bool = False) -> None:
            outlet.progress(completion_id, turn.spoken, flush=flush)

        try:
            if not await self._feeds.belongs(room.user_id, completion_id, room.session_id):
                raise CompletionNotFound("This completion does not exist.", param="completion_id")
            # Only now: a client may name any number of ids that do not exist.
            outlet.resume(completion_id, after)
            async with asyncio.timeout(_REPLAY):
                end = await self._feeds.read(
                    room.user_id, turn, lambda: None, progress, lambda _news: None
                )
        except TimeoutError:
            return
        except ChatError as error:
            outlet.refuse(error)
            return
        progress(flush=True)
        outlet.end(completion_id, last_word(turn, end))


def _place(order: Order) -> AnswerPlace | None:
    plan = order.plan
    if plan is None or order.session_id is None:
        return None
    return place_planned(order.session_id, plan, order.completion_id).place
