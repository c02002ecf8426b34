"""A connection that closes in the moment in which something is sent, as uvloop tells of it."""

import pytest
from nats.aio.client import Client

from services.inference_worker.adapters.nats_frames import NatsFrames
from shared.contracts.frames import Frame, FrameKind
from shared.errors import BrokerUnavailable
from shared.messaging.jetstream import JetStream

FRAME = Frame(FrameKind.TOKENS, 1, 0, 1, 1, 2, 0, b"data: {}\n\n")


class ClosingClient(Client):
    """nats-py's, whose transport has closed and which has not noticed."""

    async def publish(self, *_: object, **__: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    async def request(self, *_: object, **__: object) -> None:  # type: ignore[override]
        await self.publish()


async def test_a_frame_that_meets_a_closed_transport_does_not_end_its_answer() -> None:
    await NatsFrames(ClosingClient()).send("chat.chunks.g.c", FRAME)


async def test_what_is_asked_of_a_closed_transport_is_a_broker_that_is_away() -> None:
    jetstream = JetStream(ClosingClient())
    with pytest.raises(BrokerUnavailable):
        await jetstream.publish_once("chat.events.completed.c", b"{}")
    with pytest.raises(BrokerUnavailable):
        await jetstream.api("INFO")
