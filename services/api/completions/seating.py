"""Give a completion its place in a session: whose it is, that it is free, where the turn goes."""

from collections.abc import Sequence
from typing import NamedTuple

from services.api.completions.orders import TurnPlan
from services.api.completions.placing import PlacedTurn, place_planned, place_turn, place_under
from services.api.completions.turn_lease import TurnLeases
from services.api.completions.turn_states import Lease, busy
from services.api.ports.sessions import Held, History, TurnState
from shared.contracts.chat import CompletionStatus, Message
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.history import GetSession, MessageRef, SessionHead, SessionHeadQuery
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.errors import HistoryUnavailable, MessageNotFound


class Seat(NamedTuple):
    """A place in a session, held until the turn has ended."""

    lease: Lease
    head: SessionHead
    placed: PlacedTurn
    adopted: bool = False
    """Another gateway has taken it: what stood before this turn is not known here."""


class Seating:
    """Takes and gives back seats."""

    def __init__(self, history: History, leases: TurnLeases) -> None:
        self._history = history
        self._leases = leases

    async def take(
        self,
        user_id: UserId,
        session_id: SessionId,
        messages: Sequence[Message],
        completion_id: CompletionId,
    ) -> Seat:
        """Hold the session for this completion.

        The branch's end is read between seeing the session idle and taking it at the revision that
        was seen, so no other turn can slip in between.

        Raises:
            SessionNotFound: no such session of this user's.
            SessionBusy: a turn is running.
            HistoryUnavailable: nobody knows where the branch ends.
            BrokerUnavailable: the broker is away.
        """
        held = await self._leases.look(session_id)
        if held is not None and held.state.user_id == user_id and held.state.running is not None:
            raise busy()
        head = await self._head(user_id, session_id, held)
        # Placed first: whatever fails from the lease on must give it back.
        placed = place_turn(session_id, head, messages, completion_id)
        question = head.last_user
        if not placed.place.new_message_ids and question is not None:
            beside = await self._answers(user_id, session_id, question)
            placed = place_under(session_id, head, question, [], completion_id, beside)
        lease = await self._leases.take(session_id, user_id, completion_id, held)
        return Seat(lease, head, placed)

    async def take_planned(
        self, user_id: UserId, session_id: SessionId, plan: TurnPlan, completion_id: CompletionId
    ) -> Seat:
        """Hold the session for a turn whose place is known.

        Raises:
            SessionBusy: a turn is running, or has begun since the plan was made.
            BrokerUnavailable: the broker is away.
        """
        placed = place_planned(session_id, plan, completion_id)
        lease = await self._leases.take(session_id, user_id, completion_id, plan.held)
        head, parent = plan.head, plan.parent
        if parent is not None and parent.role == "user":
            head = head.model_copy(update={"last_user": parent})
        return Seat(lease, head, placed)

    async def leave(self, seat: Seat, end: CompletionCompleted | None) -> None:
        """Let the session go after ``end``; ``None`` or a rejection leaves it as it was.

        Raises:
            BrokerUnavailable: no answer.
        """
        await self._leases.release(seat.lease, _state_after(seat, end))

    async def leave_patiently(self, seat: Seat, end: CompletionCompleted | None) -> None:
        """The same, waiting for a broker that is away."""
        await self._leases.release_patiently(seat.lease, _state_after(seat, end))

    async def adopt(self, accepted: CompletionAccepted) -> Seat | None:
        """Hold the session for a completion whose gateway may be gone; ``None`` if it is held.

        Raises:
            BrokerUnavailable: no answer.
        """
        turn, place = accepted.turn, accepted.place
        if turn is None or place is None:
            return None
        lease = await self._leases.adopt(turn.session_id, accepted.user_id, accepted.completion_id)
        if lease is None:
            return None
        head = SessionHead(turn=turn.turn - 1, titled=True)
        return Seat(lease, head, PlacedTurn(turn, place), adopted=True)

    def forget(self, seat: Seat) -> None:
        """Hold the session no more; it is free once the lease has run out."""
        self._leases.forget(seat.lease)

    async def _answers(
        self, user_id: UserId, session_id: SessionId, question: MessageRef
    ) -> Sequence[MessageId]:
        query = GetSession(
            user_id=user_id, session_id=session_id, leaf=question.id, limit=1, following=True
        )
        try:
            return (await self._history.get_session(query)).following or ()
        except (HistoryUnavailable, MessageNotFound):
            # The answer is told without those beside it: reading them shows them.
            return ()

    async def _head(self, user_id: UserId, session_id: SessionId, held: Held | None) -> SessionHead:
        last = held.state.last if held is not None else None
        query = SessionHeadQuery(user_id=user_id, session_id=session_id, after_completion=last)
        try:
            return await self._history.session_head(query)
        except HistoryUnavailable:
            # The session goes on without MongoDB where its last turn is known to have gone well.
            if held is None or held.state.user_id != user_id or held.state.head is None:
                raise
            return held.state.head


def _state_after(seat: Seat, end: CompletionCompleted | None) -> TurnState:
    state = seat.lease.state
    if end is None or end.status is CompletionStatus.REJECTED:
        return seat.lease.previous or TurnState(user_id=state.user_id)
    return TurnState(user_id=state.user_id, last=end.completion_id, head=_head_after(seat, end))


def _head_after(seat: Seat, end: CompletionCompleted) -> SessionHead | None:
    # What a failed or stopped answer leaves in the session is for history to say.
    # An end without content was read while the broker was away: its digest would be wrong.
    if seat.adopted or end.status is not CompletionStatus.COMPLETED:
        return None
    if not (end.text or end.tool_calls):
        return None
    turn, place = seat.placed
    answer = Message(role="assistant", content=end.text, tool_calls=end.tool_calls or None)
    asked = next((new for new in reversed(turn.messages) if new.message.role == "user"), None)
    last_user = seat.head.last_user
    if asked is None and last_user is None:
        return None
    if asked is not None:
        last_user = MessageRef(
            id=asked.id, role="user", depth=asked.depth, digest=asked.message.digest()
        )
    return SessionHead(
        turn=turn.turn,
        leaf=MessageRef(
            id=place.message_id, role="assistant", depth=place.depth, digest=answer.digest()
        ),
        last_user=last_user,
        titled=seat.head.titled or turn.title is not None,
    )
