"""``Live`` on ``chat.live.<user>.<session>``: core messages that nobody keeps."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from shared.contracts import subjects
from shared.contracts.ids import SessionId, UserId
from shared.contracts.live import LiveEvent
from shared.errors import BrokerUnavailable
from shared.messaging.copies import is_copy
from shared.messaging.lost import LOST
from shared.messaging.subscriptions import ProvenSubscription

log = structlog.stdlib.get_logger(__name__)

_PROBE: Final = SessionId("probe")
_AT_ONCE: Final = 32
"""Subscriptions that are proven side by side: a broker that has just come back has much to do."""
_TRIES: Final = 3
_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 5.0


class _Ear:
    """One subscription."""

    def __init__(
        self,
        client: Client,
        subject: str,
        probe: str,
        heard: Callable[[LiveEvent], None],
        missed: Callable[[], None],
        ears: "set[_Ear]",
    ) -> None:
        self._heard = heard
        self._missed = missed
        self._ears = ears
        self.subscription = ProvenSubscription(client, subject, self._receive, probe_subject=probe)

    async def open(self) -> None:
        await self.subscription.open()
        self._ears.add(self)

    async def close(self) -> None:
        """Stop listening."""
        self._ears.discard(self)
        await self.subscription.close()

    async def prove(self) -> None:
        for tries in range(1, _TRIES + 1):
            try:
                await self.subscription.prove()
            except BrokerUnavailable:
                log.warning("live_not_proven", tries=tries)
                if self not in self._ears:
                    return
                await asyncio.sleep(min(tries * _PAUSE, _LONGEST_PAUSE))
            else:
                break
        # Not before: what was said until then is looked for only once.
        self._missed()

    async def _receive(self, message: Msg) -> None:
        if is_copy(message.headers):
            log.error("copy_refused", subject=message.subject)
            return
        try:
            event = LiveEvent.from_bytes(message.data)
        except ValidationError:
            log.warning("live_event_malformed", subject=message.subject)
            return
        self._heard(event)


class NatsLive:
    """Says and hears what happens in sessions."""

    def __init__(self, client: Client, gateway_id: str) -> None:
        self._client = client
        self._ears: set[_Ear] = set()
        self.gateway_id = gateway_id

    async def say(self, user_id: UserId, event: LiveEvent) -> None:
        """Tell all gateways."""
        # The client would keep it, and say it when it may no longer be true.
        if not self._client.is_connected:
            raise BrokerUnavailable("NATS is not connected.")
        try:
            await self._client.publish(subjects.live(user_id, event.session_id), event.to_bytes())
        except LOST as error:
            raise BrokerUnavailable("NATS did not take a message.") from error

    async def listen(
        self,
        user_id: UserId,
        session_id: SessionId | None,
        heard: Callable[[LiveEvent], None],
        missed: Callable[[], None],
    ) -> _Ear:
        """Call ``heard`` for each event of a session, or of all of the user's."""
        subject = subjects.live(user_id, session_id or SessionId("*"))
        probe = subjects.live(user_id, session_id or _PROBE)
        ear = _Ear(self._client, subject, probe, heard, missed, self._ears)
        await ear.open()
        return ear

    async def prove(self) -> None:
        """Prove all subscriptions again, then let their owners look for what they missed."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def prove(ear: _Ear) -> None:
            async with room:
                await ear.prove()

        await asyncio.gather(*(prove(ear) for ear in list(self._ears)))
