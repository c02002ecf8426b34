"""Pull events from the durable consumer, on the raw client.

Not a FastStream subscriber: its pull loop (0.7.8) swallows *no responders* without waiting, which
is 7,800 pulls a second for as long as the durable is away. This one waits for a durable that is
being provisioned and for a broker that restarts, and asks nothing while the connection is down:
pulls that pile up would deliver more than is in hand.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from services.history.event_ports import RawEvent
from services.history.intake import Intake
from shared.contracts import streams
from shared.messaging.copies import is_copy
from shared.messaging.lost import LOST

_PULL: Final = 1.0
"""Seconds that one pull waits: one that a broker or a consumer took with it is missed so long."""
_RETRY: Final = 0.5
_ACK_TIMEOUT: Final = 5.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.stdlib.get_logger(__name__)


class NatsDelivery:
    """``Delivery`` of one JetStream message.

    Lost acknowledgements only mean that the event comes again: they are no errors.
    """

    def __init__(self, message: Msg) -> None:
        self._message = message
        metadata = message.metadata
        self._event = RawEvent(
            message.subject,
            metadata.sequence.stream,
            _time(message),
            message.data,
        )

    @property
    def event(self) -> RawEvent:
        """See the port."""
        return self._event

    async def in_progress(self) -> None:
        """See the port."""
        try:
            await self._message.in_progress()
        except LOST as error:
            self._lost("in_progress", error)

    async def done(self) -> None:
        """See the port."""
        try:
            await self._message.ack_sync(timeout=_ACK_TIMEOUT)
        except LOST as error:
            self._lost("ack", error)

    async def again(self, delay: float) -> None:
        """See the port."""
        try:
            await self._message.nak(delay=delay)
        except LOST as error:
            self._lost("nak", error)

    async def drop(self) -> None:
        """See the port."""
        try:
            await self._message.term()
        except LOST as error:
            self._lost("term", error)

    def _lost(self, kind: str, error: Exception) -> None:
        log.warning(
            "acknowledgement_lost", kind=kind, sequence=self._event.sequence, error=str(error)
        )


class NatsConsumer:
    """``count`` loops, each with one event in hand at a time."""

    def __init__(self, client: Client, intake: Intake, *, count: int) -> None:
        self._client = client
        self._intake = intake
        self._count = count

    async def run(self) -> None:
        """Consume until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._loop(), name=f"history-consumer-{number}")

    async def _loop(self) -> None:
        subscription = await self._client.jetstream().pull_subscribe_bind(
            consumer=streams.HISTORY_CONSUMER, stream=streams.EVENTS
        )
        try:
            while not _stopping():
                message = await self._pull(subscription)
                delivery = _delivery(message) if message is not None else None
                if delivery is not None and _stopping():
                    await delivery.again(0)
                elif delivery is not None and message is not None and is_copy(message.headers):
                    log.error("copy_refused", subject=message.subject)
                    await delivery.drop()
                elif delivery is not None:
                    await self._take(delivery)
        finally:
            # Withdraws the pull. Left open, it would also hold up the client's drain for as long
            # as a status message that no fetch waits for any more lies in its queue.
            with suppress(*LOST):
                await subscription.unsubscribe()

    async def _pull(self, subscription: JetStreamContext.PullSubscription) -> Msg | None:
        if not self._client.is_connected:
            await asyncio.sleep(_RETRY)
            return None
        clock = asyncio.get_running_loop().time
        begin = clock()
        try:
            messages = await subscription.fetch(1, timeout=_PULL)
        except (TimeoutError, nats.errors.TimeoutError):
            if clock() - begin < _PULL / 2:
                # A status has ended the pull early: do not ask again at once.
                await asyncio.sleep(_RETRY)
            return None
        except LOST as error:
            log.warning("history_consumer_away", error=str(error) or type(error).__name__)
            await asyncio.sleep(_RETRY)
            return None
        return messages[0]

    async def _take(self, delivery: NatsDelivery) -> None:
        try:
            await self._intake.take(delivery)
        except asyncio.CancelledError:
            # This process stops: let another one have it now, not after ``ack_wait``.
            await delivery.again(0)
            raise
        except Exception:
            log.exception("intake_failed", sequence=delivery.event.sequence)
            await delivery.again(_RETRY)


def _stopping() -> bool:
    """Whether this task has been cancelled, also where nobody heard of it.

    asyncio's ``wait_for`` of Python 3.11, which nats-py's calls go through, swallows a cancellation
    that meets the reply, and a ``TaskGroup`` cancels once: under load the loop would never end.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _delivery(message: Msg) -> NatsDelivery | None:
    try:
        return NatsDelivery(message)
    except nats.errors.Error:
        log.warning("message_is_no_delivery", subject=message.subject)
        return None


def _time(message: Msg) -> datetime:
    # nats-py's own goes through a float and may lose the last microsecond.
    tokens = message.reply.split(".")
    nanoseconds = int(tokens[7 if len(tokens) == 9 else 9])
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
