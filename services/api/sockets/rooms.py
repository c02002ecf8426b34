"""The sessions that have open sockets here, and what their sockets may ask for."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from services.api.background import Background
from services.api.completions.announcing import Announcing
from services.api.completions.cancellations import Cancellations
from services.api.completions.completions import Completions
from services.api.completions.orders import Order
from services.api.sessions.turn_messages import question_of
from services.api.sessions.turns import Wanted
from services.api.sockets.outlet import Outlet
from services.api.sockets.room import MakeRoom, Room
from services.api.sockets.turn_feeds import Turn, TurnFeeds, refusal
from services.api.streams.delivery import Delivery
from services.api.streams.numbering import Numbering
from services.api.streams.sse import ChunkEncoder
from shared.contracts.history import SessionSettings
from shared.contracts.ids import CompletionId, SessionId, UserId, new_completion_id
from shared.contracts.live import LiveEvent
from shared.errors import ChatError, CompletionNotFound, QueueFull
from shared.tasks import end_tasks

log = structlog.stdlib.get_logger(__name__)

_REPLAY: Final = 3600.0
_REPLAYS: Final = 4
"""Answers that one socket may have said again at once."""

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
    ) -> None:
        self._make = make
        self._feeds = feeds
        self._completions = completions
        self._cancellations = cancellations
        self._announcing = announcing
        self._background = background
        self._rooms: dict[tuple[UserId, SessionId], Room] = {}
        self._guests: Counter[Room] = Counter()
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

    def ask(self, room: Room, outlet: Outlet, plan: Plan, settings: SessionSettings) -> None:
        """Run a turn and show it to the room; a refusal is told to the one who asked."""
        self._background.spawn(self._ask(room, outlet, plan, settings), "socket-turn")

    def stop(self, room: Room, outlet: Outlet, completion_id: CompletionId | None) -> None:
        """Stop the turn that is shown, or another one of the user's."""
        self._background.spawn(self._stop(room, outlet, completion_id), "socket-stop")

    def resume(self, room: Room, outlet: Outlet, completion_id: CompletionId, after: int) -> None:
        """Say an answer of this session again."""
        if room.resume(outlet, completion_id, after):
            return
        replays = self._replays.setdefault(outlet, {})
        if completion_id in replays or len(replays) >= _REPLAYS:
            outlet.send(refusal(QueueFull("It is being said again already; wait for its end.")))
            return
        replaying = self._background.spawn(
            self._replay(room, outlet, completion_id, after), "socket-resume"
        )
        replays[completion_id] = replaying
        replaying.add_done_callback(lambda _task: replays.pop(completion_id, None))

    def typing(self, room: Room, outlet: Outlet, *, begun: bool) -> None:
        """Tell the others."""
        event = LiveEvent(
            type="typing" if begun else "stop_typing",
            session_id=room.session_id,
            origin=f"{self._announcing.gateway_id}/{outlet.name}",
        )
        self._background.spawn(self._announcing.say(room.user_id, event), "socket-typing")

    async def _ask(self, room: Room, outlet: Outlet, plan: Plan, settings: SessionSettings) -> None:
        completion_id = new_completion_id()
        room.expect(completion_id)
        try:
            order = await plan(Wanted(completion_id, room.user_id, room.session_id, settings))
            order = replace(order, resumes=True)
            encoder = ChunkEncoder(
                completion_id, order.model, order.created_at, include_usage=False
            )
            delivery = Delivery(encoder.missing, Numbering(completion_id).dress)
            running = await self._completions.start(order, delivery)
        except ChatError as error:
            log.info("socket_message_failed", code=error.code, session_id=room.session_id)
            room.refuse(completion_id)
            outlet.send(refusal(error, completion_id))
            return
        except BaseException:
            room.refuse(completion_id)
            raise
        log.info("socket_turn", completion_id=completion_id, session_id=room.session_id)
        if room in self._guests:
            room.show(Turn(completion_id, question_of(order), running))
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
                await self._cancellations.cancel(room.user_id, wanted)
        except ChatError as error:
            outlet.send(refusal(error))

    async def _replay(
        self, room: Room, outlet: Outlet, completion_id: CompletionId, after: int
    ) -> None:
        turn = Turn(completion_id)

        def begun() -> None:
            return

        def progress(*, flush: bool = False) -> None:
            outlet.progress(completion_id, turn.spoken, flush=flush)

        try:
            if not await self._feeds.belongs(room.user_id, completion_id, room.session_id):
                raise CompletionNotFound("This completion does not exist.", param="completion_id")
            # Only now: a client may name any number of ids that do not exist.
            outlet.resume(completion_id, after)
            async with asyncio.timeout(_REPLAY):
                end = await self._feeds.read(
                    room.user_id, turn, begun, progress, lambda _news: None
                )
        except TimeoutError:
            return
        except ChatError as error:
            outlet.send(refusal(error))
            return
        progress(flush=True)
        outlet.forget(completion_id)
        outlet.send(self._feeds.last_word(completion_id, turn.spoken, end, turn.question))
