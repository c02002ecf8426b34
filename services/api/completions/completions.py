"""Admit a completion: everything that can be refused is refused before anything is stored.

Then the order of two durable facts makes it safe: ``accepted`` says that somebody owes an end,
and only then is the request queued. Whoever fails in between owes the end itself.
"""

from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

import structlog

from services.api.access.caller import Caller
from services.api.completions.drafting import draft_accepted, draft_command
from services.api.completions.key_holding import KeyHolding
from services.api.completions.orders import Order, Patience
from services.api.completions.preflight import Preflight
from services.api.completions.queued import Queued
from services.api.completions.readers import reader_of
from services.api.completions.running import Desk, Running
from services.api.completions.seating import Seat
from services.api.limits.limits import Limits, Permit, Wanted
from services.api.ports.broker import Broker, FrameLog
from services.api.ports.mailbox import Mailbox
from services.api.streams.delivery import Delivery
from services.api.streams.vanishing import Vanishing
from shared.contracts import subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted
from shared.contracts.ids import SessionId, UserId
from shared.contracts.token_estimates import prompt_at_most
from shared.errors import (
    BrokerUnavailable,
    ChatError,
    PayloadTooLarge,
    QueueFull,
)

log = structlog.stdlib.get_logger(__name__)

_HEADERS: Final = 1024
"""Bytes that the broker's headers may add to a payload."""
_FAST_LANE: Final = 2
_GRACE: Final = 30.0
"""Seconds after all deadlines in which somebody else must have ended a completion."""


class Completions:
    """The use case: from an order to a running completion."""

    def __init__(
        self,
        desk: Desk,
        *,
        preflight: Preflight,
        limits: Limits,
        keys: KeyHolding,
        broker: Broker,
        frames: FrameLog,
        patience: Patience,
    ) -> None:
        self._desk = desk
        self._preflight = preflight
        self._limits = limits
        self._keys = keys
        self._broker = broker
        self._frames = frames
        self._patience = patience
        self._unfinished: Counter[UserId] = Counter()

    async def start(self, order: Order, delivery: Delivery | None) -> Running:
        """Admit and queue ``order``.

        Args:
            order: What is wanted.
            delivery: How a streamed answer is given; ``None`` for a whole one.

        Raises:
            ChatError: it is refused, and nothing of it stays; ``shared.errors`` names the reasons.
        """
        with self._desk.drain.admitting():
            return await self._admit(order, delivery)

    async def _admit(self, order: Order, delivery: Delivery | None) -> Running:
        self._preflight.connected()
        caller = order.caller or Caller(order.user_id)
        window = self._preflight.window(order.model)
        estimate = partial(prompt_at_most, order.messages, order.tools, window)
        wanted = Wanted(order.completion_id, order.created_at, estimate)
        permit = await self._limits.enter(caller, wanted)
        try:
            await self._preflight.check(order.model)
            return await self._seat_and_queue(order, permit, delivery)
        except BaseException as error:
            await self._undo(permit.give_back(surely=_is_refusal(error)), error)
            raise

    async def _seat_and_queue(
        self, order: Order, permit: Permit, delivery: Delivery | None
    ) -> Running:
        if order.session_id is None:
            return await self._queue(order, None, permit, delivery)
        seat = await self._seat(order, order.session_id)
        try:
            return await self._queue(order, seat, permit, delivery)
        except BaseException as error:
            await self._undo(self._desk.seating.leave_patiently(seat, None), error)
            raise

    async def _undo(self, work: Coroutine[Any, Any, None], error: BaseException) -> None:
        if _is_refusal(error):
            await work
        else:
            # The answer must not wait for a broker that is away.
            self._desk.background.spawn(work, "undo-admission")

    async def _seat(self, order: Order, session_id: SessionId) -> Seat:
        seating = self._desk.seating
        if order.plan is not None:
            return await seating.take_planned(
                order.user_id, session_id, order.plan, order.completion_id
            )
        return await seating.take(order.user_id, session_id, order.messages, order.completion_id)

    async def _queue(
        self, order: Order, seat: Seat | None, permit: Permit, delivery: Delivery | None
    ) -> Running:
        desk = self._desk
        lane = subjects.LANES[0 if self._unfinished[order.user_id] < _FAST_LANE else 1]
        placed = seat.placed if seat is not None else None
        reply_subject = desk.mailboxes.reply_subject(order.completion_id)
        command = draft_command(
            order,
            placed,
            reply_subject,
            self._patience,
            whole=delivery is None,
            window=self._preflight.window(order.model),
        )
        accepted = draft_accepted(command, placed, lane, self._patience, order)
        payload = command.to_bytes()
        self._check_size(len(payload), len(accepted.to_bytes()))
        mailbox = Mailbox(
            self._patience.mailbox_bytes,
            clock=desk.clock.monotonic,
            relays=delivery is not None,
        )
        reader = reader_of(
            command.completion_id, mailbox, delivery, desk, self._frames, self._patience
        )
        desk.mailboxes.register(command.completion_id, mailbox, reader.alarm)
        self._unfinished[order.user_id] += 1
        try:
            # The last thing that may refuse: whatever else does costs the caller nothing.
            await permit.count()
            number = await self._publish(command, accepted, payload, lane)
        except BaseException:
            desk.mailboxes.remove(command.completion_id, mailbox)
            self._leave(order.user_id)
            raise
        deadline = desk.clock.monotonic() + self._patience.waiting
        queued = Queued(
            command,
            number,
            deadline,
            ticket=desk.line.join(command.model, lane, number) if delivery is not None else None,
            vanishing=Vanishing(
                command.completion_id,
                mailbox,
                broker=self._broker,
                journal=desk.journal,
                notes=desk.notes,
                clock=desk.clock,
                silence=self._patience.silence,
            ),
            mailbox=mailbox,
            queue=desk.queue,
            notes=desk.notes,
            terminals=desk.terminals,
            cancelling=desk.cancelling,
            background=desk.background,
            clock=desk.clock,
        )
        let_go = self._keys.hold(order)

        def over() -> None:
            let_go()
            self._leave(order.user_id)

        return Running(
            desk,
            command,
            mailbox=mailbox,
            reader=reader,
            queued=queued,
            seat=seat,
            permit=permit,
            overall=deadline + self._patience.generating + _GRACE,
            resumable=order.resumable,
            reconnects=order.resumes and delivery is not None,
            on_end=over,
        )

    async def _publish(
        self, command: RunCompletion, accepted: CompletionAccepted, payload: bytes, lane: str
    ) -> int:
        terminals = self._desk.terminals
        try:
            await self._desk.journal.accept(accepted)
            await self._desk.announcing.turn_started(accepted)
            number = await self._desk.queue.enqueue(payload, command.model, lane)
        except QueueFull as error:
            end = terminals.make(command, CompletionStatus.REJECTED, error)
            await terminals.record(end, command.reply_subject)
            raise
        except BrokerUnavailable as error:
            # Either may be stored without our hearing of it. If the request is, its worker finds
            # this end, or has won with its own.
            end = terminals.make(command, CompletionStatus.REJECTED, error)
            record = terminals.record_patiently(end, command.reply_subject)
            self._desk.background.spawn(record, "record-rejected")
            # Should it be queued all the same, no engine is to work on it.
            mark = self._desk.cancelling.mark(command.completion_id)
            self._desk.background.spawn(mark, "mark-rejected")
            raise
        await self._desk.notes.note(command.completion_id, number)
        return number

    def _check_size(self, *sizes: int) -> None:
        limit = self._broker.max_payload - _HEADERS
        if max(sizes) > limit:
            message = (
                f"This request takes {max(sizes)} bytes, and at most {limit} can be sent on; "
                "shorten it, or use smaller images."
            )
            raise PayloadTooLarge(message)

    def _leave(self, user_id: UserId) -> None:
        self._unfinished[user_id] -= 1
        if self._unfinished[user_id] <= 0:
            del self._unfinished[user_id]


def _is_refusal(error: BaseException) -> bool:
    """Whether it is sure that nothing was begun."""
    return isinstance(error, ChatError) and not isinstance(error, BrokerUnavailable)
