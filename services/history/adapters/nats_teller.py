"""``Teller`` by core messages: nobody keeps them."""

import structlog
from nats.aio.client import Client

from shared.contracts import subjects
from shared.contracts.ids import UserId
from shared.contracts.live import LiveEvent, SettingsChanged
from shared.messaging.lost import LOST

log = structlog.stdlib.get_logger(__name__)


class NatsTeller:
    """Says nothing while the broker is away: gateways look for themselves when it is back."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of_session(self, user_id: UserId, event: LiveEvent) -> None:
        """See the port."""
        await self._say(subjects.live(user_id, event.session_id), event.type, event.to_bytes())

    async def of_settings(self, event: SettingsChanged) -> None:
        """See the port."""
        await self._say(subjects.SETTINGS, "settings_changed", event.to_bytes())

    async def _say(self, subject: str, kind: str, data: bytes) -> None:
        # The client would keep it, and say it when it may no longer be true.
        if not self._client.is_connected:
            log.warning("not_told", kind=kind)
            return
        try:
            await self._client.publish(subject, data)
        except LOST as error:
            log.warning("not_told", kind=kind, error=str(error) or type(error).__name__)
