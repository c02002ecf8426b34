"""Admit a completion: everything that can be refused is refused before anything is stored.

Then the order of two durable facts makes it safe: ``accepted`` says that somebody owes an end,
and only then is the request queued. Whoever fails in between owes the end itself.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from services.api.catalog import Catalog
from services.api.mailbox import Mailbox
from services.api.orders import Order, Patience
from services.api.ports import Backlog, Broker, FrameLog, KnownModels, Service, Workers
from services.api.relay import Relay
from services.api.running import Desk, Reader, Running
from services.api.seating import Seat
from services.api.steps import Missing
from services.api.whole import WholeAnswer
from shared.contracts import subjects
from shared.contracts.chat import CompletionStatus
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted
from shared.contracts.ids import CompletionId, UserId
from shared.errors import (
    BrokerUnavailable,
    ChatError,
    HistoryBacklog,
    ModelNotFound,
    NoWorker,
    PayloadTooLarge,
    QueueFull,
)

log = structlog.stdlib.get_logger(__name__)

Encode = Callable[[Missing], bytes]

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
        broker: Broker,
        workers: Workers,
        known_models: KnownModels,
        catalog: Catalog,
        backlog: Backlog,
        frames: FrameLog,
        patience: Patience,
    ) -> None:
        self._desk = desk
        self._broker = broker
        self._workers = workers
        self._known_models = known_models
        self._catalog = catalog
        self._backlog = backlog
        self._frames = frames
        self._patience = patience
        self._unfinished: Counter[UserId] = Counter()

    async def start(self, order: Order, encode: Encode | None) -> Running:
        """Admit and queue ``order``.

        Args:
            order: What is wanted.
            encode: Makes a delta of lost parts for a streamed answer; ``None`` for a whole one.

        Raises:
            ChatError: it is refused, and nothing of it stays; ``shared.errors`` names the reasons.
        """
        with self._desk.drain.admitting():
            return await self._admit(order, encode)

    async def _admit(self, order: Order, encode: Encode | None) -> Running:
        if not self._broker.ready():
            raise BrokerUnavailable("The message broker is away; try again in a moment.")
        await self._served(order.model)
        if self._backlog.too_long():
            raise HistoryBacklog("History is too far behind to take on more; try again later.")
        if order.session_id is None:
            return await self._queue(order, None, encode)
        seat = await self._desk.seating.take(
            order.user_id, order.session_id, order.messages, order.completion_id
        )
        try:
            return await self._queue(order, seat, encode)
        except BaseException as error:
            leave = self._desk.seating.leave_patiently(seat, None)
            if isinstance(error, ChatError) and not isinstance(error, BrokerUnavailable):
                await leave
            else:
                # The answer must not wait for a broker that is away.
                self._desk.background.spawn(leave, "leave-session")
            raise

    async def _served(self, model: str) -> None:
        service = await self._workers.probe(model)
        if service is Service.SERVED:
            return
        # The broker knows a hung worker's subscription for another half minute; the catalog has
        # forgotten it by then. One that is listed and silent may only be slow: the queue decides.
        if service is Service.SILENT and self._catalog.find(model) is not None:
            return
        if await self._known_models.seen(model):
            message = f"No worker serves the model {model} at the moment."
            raise NoWorker(message, param="model")
        message = f"The model {model} does not exist."
        raise ModelNotFound(message, param="model")

    async def _queue(self, order: Order, seat: Seat | None, encode: Encode | None) -> Running:
        command = self._command(order, seat)
        accepted = self._accepted(command, seat)
        payload = command.to_bytes()
        self._check_size(len(payload), len(accepted.to_bytes()))
        mailbox = Mailbox(
            self._patience.mailbox_bytes,
            clock=self._desk.clock.monotonic,
            relays=encode is not None,
        )
        reader = self._reader(command.completion_id, mailbox, encode)
        self._desk.mailboxes.register(command.completion_id, mailbox, reader.alarm)
        lane = self._enter(order.user_id)
        try:
            number = await self._publish(command, accepted, payload, lane)
        except BaseException:
            self._desk.mailboxes.remove(command.completion_id)
            self._leave(order.user_id)
            raise
        now = self._desk.clock.monotonic()
        waiting = now + self._patience.waiting
        return Running(
            self._desk,
            command,
            mailbox=mailbox,
            reader=reader,
            number=number,
            seat=seat,
            waiting=waiting,
            overall=waiting + self._patience.generating + _GRACE,
            on_end=lambda: self._leave(order.user_id),
        )

    async def _publish(
        self, command: RunCompletion, accepted: CompletionAccepted, payload: bytes, lane: str
    ) -> int:
        terminals = self._desk.terminals
        try:
            await self._desk.journal.accept(accepted)
            return await self._desk.queue.enqueue(payload, command.model, lane)
        except QueueFull as error:
            await terminals.record(terminals.make(command, CompletionStatus.REJECTED, error))
            raise
        except BrokerUnavailable as error:
            # Either may be stored without our hearing of it. If the request is, its worker finds
            # this end, or has won with its own.
            end = terminals.make(command, CompletionStatus.REJECTED, error)
            self._desk.background.spawn(terminals.record_patiently(end), "record-rejected")
            raise

    def _reader(
        self, completion_id: CompletionId, mailbox: Mailbox, encode: Encode | None
    ) -> Reader:
        desk = self._desk
        if encode is None:
            return WholeAnswer(
                completion_id,
                mailbox,
                journal=desk.journal,
                clock=desk.clock,
                silence=self._patience.silence,
            )
        return Relay(
            completion_id,
            mailbox,
            frames=self._frames,
            journal=desk.journal,
            clock=desk.clock,
            encode=encode,
            silence=self._patience.silence,
            batch=self._patience.mailbox_bytes,
        )

    def _command(self, order: Order, seat: Seat | None) -> RunCompletion:
        return RunCompletion(
            completion_id=order.completion_id,
            reply_subject=self._desk.mailboxes.reply_subject(order.completion_id),
            user_id=order.user_id,
            model=subjects.full_model_name(order.model),
            display_model=order.model,
            created_at=order.created_at,
            messages=list(order.messages),
            sampling=order.sampling,
            tools=list(order.tools),
            response_format=order.response_format,
            include_usage=order.include_usage,
            place=seat.placed.place if seat is not None else None,
            generating_deadline=timedelta(seconds=self._patience.generating),
        )

    def _accepted(self, command: RunCompletion, seat: Seat | None) -> CompletionAccepted:
        return CompletionAccepted(
            completion_id=command.completion_id,
            user_id=command.user_id,
            model=command.display_model,
            accepted_at=command.created_at,
            turn=seat.placed.turn if seat is not None else None,
            place=command.place,
            overdue_after_s=self._patience.waiting + self._patience.generating,
        )

    def _check_size(self, *sizes: int) -> None:
        limit = self._broker.max_payload - _HEADERS
        if max(sizes) > limit:
            message = f"The request takes {max(sizes)} bytes; the broker carries {limit}."
            raise PayloadTooLarge(message)

    def _enter(self, user_id: UserId) -> str:
        lane = subjects.LANES[0 if self._unfinished[user_id] < _FAST_LANE else 1]
        self._unfinished[user_id] += 1
        return lane

    def _leave(self, user_id: UserId) -> None:
        self._unfinished[user_id] -= 1
        if self._unfinished[user_id] <= 0:
            del self._unfinished[user_id]
