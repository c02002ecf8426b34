"""What viewers of an answer begun elsewhere are promised: the fake and NATS both keep it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from nats.aio.client import Client

from services.api.adapters.nats_feeds import NatsFeeds
from services.api.ports.mailbox import Mailbox
from services.api.ports.viewers import Feeds, Listening
from shared.contracts import subjects
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.identities import Identity
from shared.contracts.ids import CompletionId, new_completion_id
from shared.errors import BrokerUnavailable
from tests.fakes.api.ports import FakeFeeds
from tests.support.nats_keys import connect
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

Say = Callable[[CompletionId, Frame], Awaitable[None]]


class World(NamedTuple):
    feeds: Feeds
    say: Say


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[NatsServer]:
    async with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def client(server: NatsServer) -> AsyncGenerator[Client]:
    connected = await connect(
        server.url, Identity.GATEWAY, max_reconnect_attempts=-1, reconnect_time_wait=0.05
    )
    yield connected
    await connected.close()


@pytest.fixture(params=["fakes", "nats"])
async def world(request: pytest.FixtureRequest, client: Client) -> World:
    if request.param == "fakes":
        fake = FakeFeeds()

        async def put(completion_id: CompletionId, frame: Frame) -> None:
            fake.put(completion_id, frame)

        return World(fake, put)

    async def publish(completion_id: CompletionId, frame: Frame) -> None:
        await client.publish(subjects.chunks("elsewhere", completion_id), frame.to_bytes())

    return World(NatsFeeds(client), publish)


class Viewer:
    def __init__(self) -> None:
        self.mailbox = Mailbox(2**20, clock=asyncio.get_running_loop().time)
        self.alarms = 0
        self.got: list[int] = []
        self.feed: Listening

    async def come(self, feeds: Feeds, completion_id: CompletionId) -> "Viewer":
        self.feed = await feeds.follow(completion_id, self.mailbox, self.alarm)
        return self

    def alarm(self) -> None:
        self.alarms += 1

    def heard(self) -> list[int]:
        self.got += [frame.first for frame in self.mailbox.take()]
        return self.got


def frame(index: int) -> Frame:
    return Frame(FrameKind.TOKENS, 1, index, 1, index + 1, 1, 0, b"x")


async def test_all_viewers_of_an_answer_hear_what_is_said_after_they_came(world: World) -> None:
    one, other = new_completion_id(), new_completion_id()
    first = await Viewer().come(world.feeds, one)
    await world.say(one, frame(0))
    await eventually(lambda: first.heard() == [0])
    second = await Viewer().come(world.feeds, one)
    elsewhere = await Viewer().come(world.feeds, other)
    await world.say(one, frame(1))
    await world.say(other, frame(7))

    await eventually(lambda: elsewhere.heard() == [7])
    assert (first.heard(), second.heard()) == ([0, 1], [1])


async def test_who_leaves_takes_nothing_from_the_others_and_may_come_again(world: World) -> None:
    completion_id = new_completion_id()
    first = await Viewer().come(world.feeds, completion_id)
    second = await Viewer().come(world.feeds, completion_id)
    await first.feed.close()
    await first.feed.close()
    await world.say(completion_id, frame(0))
    await eventually(lambda: second.heard() == [0])
    await second.feed.close()

    third = await Viewer().come(world.feeds, completion_id)
    await world.say(completion_id, frame(1))
    await eventually(lambda: third.heard() == [1])
    assert (first.heard(), second.heard()) == ([], [0])


async def test_many_who_come_at_once_cost_the_broker_no_more_than_one(client: Client) -> None:
    completion_id, feeds = new_completion_id(), NatsFeeds(client)
    viewers = await asyncio.gather(
        *(Viewer().come(feeds, completion_id) for _ in range(200)),
    )
    before = client.stats["in_msgs"]
    for index in range(5):
        await client.publish(subjects.chunks("elsewhere", completion_id), frame(index).to_bytes())
    await eventually(lambda: all(viewer.heard() == [0, 1, 2, 3, 4] for viewer in viewers))
    assert client.stats["in_msgs"] - before == 5


async def test_one_who_gives_up_while_it_opens_spoils_it_for_nobody(client: Client) -> None:
    completion_id, feeds = new_completion_id(), NatsFeeds(client)
    impatient = asyncio.create_task(Viewer().come(feeds, completion_id))
    patient = asyncio.create_task(Viewer().come(feeds, completion_id))
    await asyncio.sleep(0)
    impatient.cancel()
    viewer = await patient
    assert impatient.cancelled()

    await feeds.prove()
    assert viewer.alarms == 1
    await client.publish(subjects.chunks("elsewhere", completion_id), frame(0).to_bytes())
    await eventually(lambda: viewer.heard() == [0])


async def test_after_a_broker_that_was_away_the_next_viewer_is_served(
    server: NatsServer, client: Client
) -> None:
    completion_id, feeds = new_completion_id(), NatsFeeds(client)
    server.stop()
    await eventually(lambda: not client.is_connected)
    with pytest.raises(BrokerUnavailable):
        await Viewer().come(feeds, completion_id)
    await server.start()
    await eventually(lambda: client.is_connected)

    viewer = await Viewer().come(feeds, completion_id)
    await client.publish(subjects.chunks("elsewhere", completion_id), frame(0).to_bytes())
    await eventually(lambda: viewer.heard() == [0])


async def test_a_frame_that_cannot_be_read_alarms_every_viewer(client: Client) -> None:
    completion_id, feeds = new_completion_id(), NatsFeeds(client)
    viewers = [await Viewer().come(feeds, completion_id) for _ in range(2)]
    await client.publish(subjects.chunks("elsewhere", completion_id), b"?")
    await eventually(lambda: [viewer.alarms for viewer in viewers] == [1, 1])
