"""A request as JetStream delivered it, and what the broker is told about it."""

import json
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.errors import BrokerUnavailable
from shared.messaging.lost import LOST

_ACK: Final = b"+ACK"
_NAK: Final = b"-NAK"
_TERM: Final = b"+TERM"
_IN_PROGRESS: Final = b"+WPI"


class NatsJob:
    """``Job`` over one JetStream message.

    Only the acknowledgement is confirmed: whatever else gets lost, the broker does by itself once
    the ack wait is over.
    """

    def __init__(
        self,
        client: Client,
        message: Msg,
        *,
        ack_wait: float,
        pulled_at: float,
        timeout: float,
    ) -> None:
        self._client = client
        self._reply = message.reply
        self._timeout = timeout
        self.data: bytes = message.data
        self.deliveries: int = message.metadata.num_delivered
        self.ack_wait = ack_wait
        self.pulled_at = pulled_at

    async def in_progress(self) -> None:
        """Say that it is still worked on."""
        await self._tell(_IN_PROGRESS)

    async def ack(self) -> None:
        """Take it off the queue for good.

        Raises:
            BrokerUnavailable: the broker did not confirm it.
        """
        try:
            await self._client.request(self._reply, _ACK, timeout=self._timeout)
        except LOST as error:
            message = "The broker did not confirm an acknowledgement."
            raise BrokerUnavailable(message) from error

    async def give_back(self, *, delay: float = 0.0) -> None:
        """Let the next worker have it, after ``delay`` seconds."""
        wish = b" " + json.dumps({"delay": int(delay * 1e9)}).encode() if delay else b""
        await self._tell(_NAK + wish)

    async def drop(self) -> None:
        """Take it off the queue unanswered."""
        await self._tell(_TERM)

    async def _tell(self, what: bytes) -> None:
        with suppress(*LOST):
            await self._client.publish(self._reply, what)
