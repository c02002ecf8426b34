"""``Feeds``: one subscription for all viewers here of a completion that was begun elsewhere."""

import asyncio

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.api.ports.broker import Alarm
from services.api.ports.mailbox import Mailbox
from shared.contracts import subjects
from shared.contracts.frames import MalformedFrame, parse_frame
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable
from shared.messaging.subscriptions import ProvenSubscription

log = structlog.stdlib.get_logger(__name__)

_PROBE = "probe"
"""Stands for a gateway: a probe must not be stored among the frames of the asking one."""


class _Channel:
    """The frames of one completion, from all gateways' subjects."""

    def __init__(self, client: Client, completion_id: CompletionId) -> None:
        self.completion_id = completion_id
        self.feeds: set[Feed] = set()
        self._subscription = ProvenSubscription(
            client,
            subjects.followed(completion_id),
            self._receive,
            probe_subject=subjects.chunks(_PROBE, completion_id),
        )
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Wait until it is live; whoever comes first has it opened, for all."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._subscription.open(), name="feed-opens")
        await asyncio.shield(self._opening)

    async def prove(self) -> None:
        """Prove it again, then let its readers look for what they missed."""
        try:
            await self._subscription.prove()
        except BrokerUnavailable:
            # Its readers ask the log after each silence.
            log.warning("feed_not_proven")
        self._alarm()

    async def close(self) -> None:
        """Stop listening."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._subscription.close()

    def _alarm(self) -> None:
        for feed in list(self.feeds):
            feed.alarm()

    async def _receive(self, message: Msg) -> None:
        try:
            frame = parse_frame(message.data)
        except MalformedFrame as error:
            log.warning("frame_malformed", subject=message.subject, error=str(error))
            self._alarm()
            return
        for feed in self.feeds:
            feed.mailbox.put(frame)


class Feed:
    """One viewer's share of a channel."""

    def __init__(
        self, feeds: "NatsFeeds", channel: _Channel, mailbox: Mailbox, alarm: Alarm
    ) -> None:
        self.channel = channel
        self.mailbox = mailbox
        self.alarm = alarm
        self._feeds = feeds

    async def close(self) -> None:
        """Stop listening."""
        await self._feeds.leave(self)


class NatsFeeds:
    """Opens feeds, and proves them again after a reconnect."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._channels: dict[CompletionId, _Channel] = {}

    async def follow(self, completion_id: CompletionId, mailbox: Mailbox, alarm: Alarm) -> Feed:
        """Put every frame from now on into ``mailbox``."""
        channel = self._channels.get(completion_id)
        if channel is None:
            channel = self._channels[completion_id] = _Channel(self._client, completion_id)
        feed = Feed(self, channel, mailbox, alarm)
        channel.feeds.add(feed)
        try:
            await channel.open()
        except BrokerUnavailable:
            # Whoever comes next tries anew.
            self._forget(channel)
            await feed.close()
            raise
        except BaseException:
            await feed.close()
            raise
        return feed

    async def leave(self, feed: Feed) -> None:
        """A viewer needs it no more; harmless twice."""
        feeds = feed.channel.feeds
        if feed in feeds:
            feeds.remove(feed)
            if not feeds:
                self._forget(feed.channel)
                await feed.channel.close()

    async def prove(self) -> None:
        """Prove all of them, then let their readers look for what they missed."""
        await asyncio.gather(*(channel.prove() for channel in list(self._channels.values())))

    def _forget(self, channel: _Channel) -> None:
        if self._channels.get(channel.completion_id) is channel:
            del self._channels[channel.completion_id]
