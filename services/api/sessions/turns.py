"""A turn of a session whose context the server builds: a message, another try, another wording."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from services.api.completions.catalog import Catalog
from services.api.completions.orders import Order, TurnPlan
from services.api.completions.turn_lease import TurnLeases
from services.api.completions.turn_states import busy
from services.api.ports.broker import Clock
from services.api.ports.sessions import Held, History
from services.api.sessions.branches import Branches, Place
from services.api.sessions.context import budget, fit
from services.api.sessions.defaults import May, anything
from services.api.sessions.resolving import Defaults
from shared.contracts.chat import Message, Sampling
from shared.contracts.history import (
    MessageRef,
    SessionHead,
    SessionHeadQuery,
    SessionSettings,
    StoredMessage,
)
from shared.contracts.ids import CompletionId, MessageId, SessionId, UserId
from shared.errors import InvalidRequest

_REST: Final = 64 * 2**10
"""Bytes of a request to a worker that are not its messages."""


class Wanted(NamedTuple):
    """What a client says of a turn."""

    completion_id: CompletionId
    user_id: UserId
    session_id: SessionId
    settings: SessionSettings
    """Of this turn alone."""
    may_ask: May = anything
    """Which models its caller may be given where none is named."""


class Turns:
    """The use case: from what a client says to an order with its place and its context."""

    def __init__(
        self,
        history: History,
        leases: TurnLeases,
        catalog: Catalog,
        defaults: Defaults,
        clock: Clock,
        max_payload: Callable[[], int],
    ) -> None:
        """Nothing is asked yet.

        Args:
            history: What was said.
            leases: Which sessions are busy.
            catalog: What windows the models have.
            defaults: What holds where a turn says nothing.
            clock: For the time of an order.
            max_payload: Bytes that the broker carries at once; asked anew for each turn, as
                another server may say otherwise.
        """
        self._history = history
        self._branches = Branches(history)
        self._leases = leases
        self._catalog = catalog
        self._defaults = defaults
        self._clock = clock
        self._max_payload = max_payload

    async def send(
        self, wanted: Wanted, message: Message, parent_id: MessageId | None = None
    ) -> Order:
        """A message after the end of the active branch, or after ``parent_id``.

        Raises:
            SessionNotFound: there is no such session of this user's.
            MessageNotFound: ``parent_id`` is no message of it.
            SessionBusy: a turn is running.
            InvalidRequest: nobody has said which model.
            HistoryUnavailable: nobody knows what was said before.
            BrokerUnavailable: the broker is away.
        """
        held, head = await self._stand(wanted)
        end = head.leaf.id if head.leaf is not None else None
        beside = () if parent_id in (None, end) else None
        return await self._order(wanted, held, head, parent_id or end, [message], beside)

    async def regenerate(self, wanted: Wanted, message_id: MessageId) -> Order:
        """Another answer beside an answer, or to a question; the former one stays.

        Raises:
            MessageNotFound: there is no such message in the session.
            InvalidRequest: it is neither an answer nor a question, or see ``send``.
            ChatError: see ``send``.
        """
        held, head = await self._stand(wanted)
        message = await self._message(wanted, held, message_id)
        if message.role == "user":
            return await self._order(wanted, held, head, message.id, [], None)
        if message.role != "assistant" or message.parent_id is None:
            raise InvalidRequest("Only a question can be answered anew.", param="message_id")
        return await self._order(wanted, held, head, message.parent_id, [], _same(message))

    async def edit(self, wanted: Wanted, message_id: MessageId, message: Message) -> Order:
        """Another wording beside a question, and its answer; the former ones stay.

        Raises:
            MessageNotFound: there is no such message in the session.
            InvalidRequest: it is no question, or see ``send``.
            ChatError: see ``send``.
        """
        held, head = await self._stand(wanted)
        former = await self._message(wanted, held, message_id)
        if former.role != "user":
            raise InvalidRequest("Only a question can be worded anew.", param="message_id")
        beside = _same(former)
        return await self._order(wanted, held, head, former.parent_id, [message], beside)

    async def _stand(self, wanted: Wanted) -> tuple[Held | None, SessionHead]:
        held = await self._leases.look(wanted.session_id)
        if held is not None and held.state.user_id == wanted.user_id and held.state.running:
            raise busy()
        head = await self._history.session_head(
            SessionHeadQuery(
                user_id=wanted.user_id,
                session_id=wanted.session_id,
                after_completion=_last(held, wanted.user_id),
            )
        )
        return held, head

    async def _message(
        self, wanted: Wanted, held: Held | None, message_id: MessageId
    ) -> StoredMessage:
        return await self._branches.message(_place(wanted, held), message_id)

    async def _order(
        self,
        wanted: Wanted,
        held: Held | None,
        head: SessionHead,
        leaf: MessageId | None,
        new: Sequence[Message],
        beside: Sequence[MessageId] | None,
    ) -> Order:
        place = _place(wanted, held)
        session, newest = await self._branches.begin(place, leaf, following=beside is None)
        if beside is None:
            beside = (newest.following if newest is not None else None) or ()
        settings = await self._defaults.resolve(
            wanted.user_id, wanted.settings, session, wanted.may_ask
        )
        if settings.model is None:
            message = "No model is named: neither here nor in the session, and there is no default."
            raise InvalidRequest(message, param="model")
        tokens = self._budget(settings.model, settings.max_tokens)
        size = self._max_payload() - _REST
        branch, leading = await self._branches.read_on(place, leaf, newest, tokens, size)
        fitted = fit(
            branch,
            new,
            system=settings.system_prompt,
            tokens=tokens,
            size=size,
            leading=leading,
        )
        return Order(
            completion_id=wanted.completion_id,
            created_at=self._clock.now(),
            user_id=wanted.user_id,
            model=settings.model,
            messages=fitted.messages,
            sampling=Sampling(
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_tokens,
            ),
            # Sessions know tools by name, and nobody here runs any.
            unavailable_tools=await self._defaults.tools(wanted.user_id, wanted.settings, session),
            session_id=wanted.session_id,
            plan=TurnPlan(
                held=held,
                head=head,
                parent=_ref(branch[-1]) if branch else None,
                new=new,
                omitted=fitted.omitted,
                droppable=fitted.droppable,
                beside=beside,
            ),
        )

    def _budget(self, model: str, max_tokens: int | None) -> int | None:
        offer = self._catalog.find(model)
        window = offer.card.context_length if offer is not None else None
        return budget(window, max_tokens) if window is not None else None


def _place(wanted: Wanted, held: Held | None) -> Place:
    return Place(wanted.user_id, wanted.session_id, _last(held, wanted.user_id))


def _same(message: StoredMessage) -> list[MessageId]:
    return message.sibling_ids or [message.id]


def _last(held: Held | None, user_id: UserId) -> CompletionId | None:
    return held.state.last if held is not None and held.state.user_id == user_id else None


def _ref(stored: StoredMessage) -> MessageRef:
    digest = Message(role=stored.role, content=stored.content).digest()
    return MessageRef(id=stored.id, role=stored.role, depth=stored.depth, digest=digest)
