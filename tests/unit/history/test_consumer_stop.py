"""The consumer's loops end when they are told to, also where a library has not passed it on."""

import asyncio
from contextlib import suppress
from typing import Any, cast

import pytest
from nats.aio.client import Client

from services.history.adapters.nats_consumer import NatsConsumer
from services.history.event_ports import Delivery
from services.history.intake import Intake
from shared.tasks import end_tasks


class _Message:
    """A delivery of JetStream; remembers what the broker was told."""

    subject = "chat.events.completed.x"
    data = b"{}"
    reply = "$JS.ACK.CHAT_EVENTS.history.1.5.5.1700000000000000000.0"

    class metadata:  # noqa: N801 - as the client names it
        class sequence:  # noqa: N801 - as above
            stream = 5

    def __init__(self) -> None:
        self.told: list[str] = []

    async def nak(self, delay: float) -> None:
        self.told.append(f"again in {delay}")


class _Subscription:
    """Its fetch ends with a message when it is cancelled, as ``wait_for`` of Python 3.11 may."""

    def __init__(self) -> None:
        self.fetched: list[_Message] = []
        self.waiting = asyncio.Event()

    async def fetch(self, _batch: int, timeout: float) -> list[_Message]:
        if not self.fetched:
            self.waiting.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        self.fetched.append(_Message())
        return [self.fetched[-1]]

    async def unsubscribe(self) -> None:
        return


class _Client:
    is_connected = True

    def __init__(self, subscription: _Subscription) -> None:
        self._subscription = subscription

    def jetstream(self) -> "_Client":
        return self

    async def pull_subscribe_bind(self, **_names: Any) -> _Subscription:  # noqa: ANN401 - unread
        return self._subscription


class _Intake:
    taken = 0

    async def take(self, _delivery: Delivery) -> None:
        self.taken += 1
        await asyncio.sleep(0)


@pytest.mark.timeout(10)
async def test_a_cancellation_that_a_fetch_has_swallowed_ends_the_loop_all_the_same() -> None:
    subscription, intake = _Subscription(), _Intake()
    consumer = NatsConsumer(cast("Client", _Client(subscription)), cast("Intake", intake), count=1)
    running = asyncio.create_task(consumer.run())
    await subscription.waiting.wait()

    async with asyncio.timeout(5):
        await end_tasks([running])

    assert intake.taken == 0
    # What came meanwhile goes to another process at once, not after the ack wait.
    assert [message.told for message in subscription.fetched] == [["again in 0"]]
