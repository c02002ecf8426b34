"""Subscriptions that are known to be live."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.errors import BrokerUnavailable
from shared.messaging.lost import LOST

PROBE: Final = "Parley-Probe"
# A gateway's inbox takes bursts of all its streams; nats-py drops what passes these limits.
_PENDING_MESSAGES: Final = 1_000_000
_PENDING_BYTES: Final = 512 * 2**20


class ProvenSubscription:
    """A subscription that counts as live only after a probe to its own subject has come back.

    nats-py's ``flush()`` can overtake a pending SUB (12 of 60 runs lost messages), so it proves
    nothing. Prove it again after each reconnect. The probes are dropped here; a foreign subscriber
    of the subject sees an empty message with the header ``Parley-Probe``.
    """

    def __init__(
        self,
        client: Client,
        subject: str,
        callback: Callable[[Msg], Awaitable[None]],
        *,
        probe_subject: str | None = None,
    ) -> None:
        """Describe the subscription.

        Args:
            client: A connected client.
            subject: What to listen to.
            callback: Called for each message, one at a time: it must never wait for a user.
            probe_subject: A concrete subject that matches, where ``subject`` has wildcards.
        """
        self._client = client
        self._subject = subject
        self._callback = callback
        self._probe_subject = probe_subject or subject
        self._proven = asyncio.Event()
        self._token = ""
        self._subscription: Subscription | None = None

    async def open(self, *, timeout: float = 2.0) -> None:
        """Subscribe and prove it.

        Raises:
            BrokerUnavailable: no probe came back within ``timeout`` seconds.
        """
        try:
            self._subscription = await self._client.subscribe(
                self._subject,
                cb=self._receive,
                pending_msgs_limit=_PENDING_MESSAGES,
                pending_bytes_limit=_PENDING_BYTES,
            )
            await self.prove(timeout=timeout)
        except LOST as error:
            raise self._not_live() from error
        except BaseException:
            await self.close()
            raise

    async def prove(self, *, timeout: float = 2.0) -> None:
        """Send probes until one comes back.

        Each call knows its own probes: one of an earlier call may still wait behind a slow
        callback, and says nothing about a connection that has come since.

        Raises:
            BrokerUnavailable: none did within ``timeout`` seconds.
        """
        self._proven.clear()
        self._token = secrets.token_hex(8)
        headers = {PROBE: self._token}
        try:
            async with asyncio.timeout(timeout):
                while not self._proven.is_set():
                    await self._client.publish(self._probe_subject, b"", headers=headers)
                    await self._heard(0.05)
        except LOST as error:
            raise self._not_live() from error

    async def close(self) -> None:
        """Stop listening; harmless when it was never open or the connection is gone."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(*LOST):  # closed or draining: it goes with the connection
                await subscription.unsubscribe()

    async def _heard(self, seconds: float) -> None:
        # Not ``wait_for``: on Python 3.11 it can swallow the cancellation of its caller.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._proven.wait()

    async def _receive(self, message: Msg) -> None:
        if message.headers is not None and PROBE in message.headers:
            if message.headers[PROBE] == self._token:
                self._proven.set()
            return
        await self._callback(message)

    def _not_live(self) -> BrokerUnavailable:
        return BrokerUnavailable(f"The subscription to {self._subject} did not become live.")
