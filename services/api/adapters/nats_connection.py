"""``Broker`` over the raw client: connected, proven, and proven again after each reconnect."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from nats.aio.client import Client

from services.api.adapters.nats_inbox import NatsInbox
from services.api.forever import forever
from shared.errors import BrokerUnavailable
from shared.messaging.lost import LOST

log = structlog.stdlib.get_logger(__name__)

_LOOK_EVERY: Final = 0.1
_PING_TIMEOUT: Final = 1


class NatsConnection:
    """Watches the client's count of reconnects: whatever was heard before one may have holes."""

    def __init__(
        self,
        client: Client,
        inbox: NatsInbox,
        *,
        on_connected: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        """Watch ``client``.

        Args:
            client: The connected client.
            inbox: What must be proven before new work is taken.
            on_connected: What else to do after the first and each later connect.
        """
        self._client = client
        self._inbox = inbox
        self._on_connected = on_connected
        self._proven_for = -1
        self._told = -1

    def ready(self) -> bool:
        """Whether it is connected and the inbox is proven for this very connection."""
        return bool(self._client.is_connected) and self._proven_for == self._reconnects()

    def connections(self) -> int:
        """How often it has been connected, and its inbox proven since."""
        return self._proven_for

    @property
    def max_payload(self) -> int:
        """The largest message in bytes, as the server says."""
        return int(self._client.max_payload)

    async def ping(self) -> float:
        """One round trip, in seconds.

        Raises:
            BrokerUnavailable: no answer.
        """
        began = time.perf_counter()
        if not self._client.is_connected:
            raise BrokerUnavailable("NATS is not connected.")
        try:
            await self._client.flush(timeout=_PING_TIMEOUT)
        except LOST as error:
            raise BrokerUnavailable("NATS did not answer a ping.") from error
        return time.perf_counter() - began

    async def begin(self) -> None:
        """Open the inbox for the first time.

        Raises:
            BrokerUnavailable: it does not become live.
        """
        await self._inbox.open()
        self._proven_for = self._reconnects()

    async def watch(self) -> None:
        """For ever: after a reconnect prove the inbox, then tell everybody."""
        await forever(self._look, _LOOK_EVERY, "watch-connection")

    async def _look(self) -> None:
        reconnects = self._reconnects()
        if not self._client.is_connected:
            return
        if self._proven_for != reconnects:
            await self._prove(reconnects)
        if self._told != reconnects and self._proven_for == reconnects:
            self._told = reconnects
            # Side by side: a stream that runs must not wait until keys and models are read anew,
            # and what fails is no reason to leave the others out.
            calls = (call() for call in self._on_connected)
            for end in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(end, Exception):
                    log.error("not_refreshed", exc_info=end)

    async def _prove(self, reconnects: int) -> None:
        try:
            await self._inbox.prove()
        except BrokerUnavailable:
            log.warning("inbox_not_proven")
        else:
            self._proven_for = reconnects

    def _reconnects(self) -> int:
        return int(self._client.stats["reconnects"])
