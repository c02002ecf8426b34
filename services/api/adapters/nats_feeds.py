"""``Feeds``: one subscription for each viewer of a completion that was begun elsewhere."""

import asyncio

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.api.mailbox import Mailbox
from services.api.ports import Alarm
from shared.contracts import subjects
from shared.contracts.frames import MalformedFrame, parse_frame
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable
from shared.messaging.subscriptions import ProvenSubscription

log = structlog.stdlib.get_logger(__name__)

_PROBE = "probe"
"""Stands for a gateway: a probe must not be stored among the frames of the asking one."""


class Feed:
    """The frames of one completion, from all gateways' subjects."""

    def __init__(
        self,
        client: Client,
        completion_id: CompletionId,
        mailbox: Mailbox,
        alarm: Alarm,
        feeds: "set[Feed]",
    ) -> None:
        self.alarm = alarm
        self._mailbox = mailbox
        self._feeds = feeds
        self.subscription = ProvenSubscription(
            client,
            subjects.followed(completion_id),
            self._receive,
            probe_subject=subjects.chunks(_PROBE, completion_id),
        )
        feeds.add(self)

    async def close(self) -> None:
        """Stop listening."""
        self._feeds.discard(self)
        await self.subscription.close()

    async def _receive(self, message: Msg) -> None:
        try:
            self._mailbox.put(parse_frame(message.data))
        except MalformedFrame as error:
            log.warning("frame_malformed", subject=message.subject, error=str(error))
            self.alarm()


class NatsFeeds:
    """Opens feeds, and proves them again after a reconnect."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._feeds: set[Feed] = set()

    async def follow(self, completion_id: CompletionId, mailbox: Mailbox, alarm: Alarm) -> Feed:
        """Put every frame from now on into ``mailbox``."""
        feed = Feed(self._client, completion_id, mailbox, alarm, self._feeds)
        try:
            await feed.subscription.open()
        except BaseException:
            await feed.close()
            raise
        return feed

    async def prove(self) -> None:
        """Prove all of them, then let their readers look for what they missed."""
        await asyncio.gather(*(self._prove(feed) for feed in list(self._feeds)))

    async def _prove(self, feed: Feed) -> None:
        try:
            await feed.subscription.prove()
        except BrokerUnavailable:
            # Its reader asks the log after each silence.
            log.warning("feed_not_proven")
        feed.alarm()
