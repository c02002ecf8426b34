"""``SettingsFeed`` on ``chat.settings``: one subscription for the whole gateway."""

from collections.abc import Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from shared.contracts import subjects
from shared.contracts.live import SettingsChanged
from shared.errors import BrokerUnavailable
from shared.messaging.subscriptions import ProvenSubscription

log = structlog.stdlib.get_logger(__name__)


class NatsSettingsFeed:
    """What is lost on the way is forgotten a moment later all the same."""

    def __init__(self, client: Client) -> None:
        self._subscription = ProvenSubscription(client, subjects.SETTINGS, self._receive)
        self._ears: list[tuple[Callable[[SettingsChanged], None], Callable[[], None]]] = []

    def listen(self, heard: Callable[[SettingsChanged], None], missed: Callable[[], None]) -> None:
        """See the port."""
        self._ears.append((heard, missed))

    async def open(self) -> None:
        """Begin to hear.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        await self._subscription.open()

    async def prove(self) -> None:
        """After a reconnect: prove it again, then have forgotten what may have changed."""
        try:
            await self._subscription.prove()
        except BrokerUnavailable:
            log.warning("settings_feed_not_proven")
        for _, missed in self._ears:
            missed()

    async def close(self) -> None:
        """Stop listening."""
        await self._subscription.close()

    async def _receive(self, message: Msg) -> None:
        try:
            event = SettingsChanged.from_bytes(message.data)
        except ValidationError:
            log.warning("settings_event_malformed")
            return
        for heard, _ in self._ears:
            heard(event)
