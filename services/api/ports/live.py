"""What sockets need from the world: what happens in sessions, on whichever gateway."""

from collections.abc import Callable
from typing import Protocol

from services.api.ports.viewers import Listening
from shared.contracts.ids import SessionId, UserId
from shared.contracts.live import LiveEvent, SettingsChanged


class Live(Protocol):
    """Events that nobody keeps."""

    @property
    def gateway_id(self) -> str:
        """Names this gateway as the origin of an event."""
        ...

    async def say(self, user_id: UserId, event: LiveEvent) -> None:
        """Tell all gateways, this one included.

        Raises:
            BrokerUnavailable: not said.
        """
        ...

    async def listen(
        self,
        user_id: UserId,
        session_id: SessionId | None,
        heard: Callable[[LiveEvent], None],
        missed: Callable[[], None],
    ) -> Listening:
        """Call ``heard`` for each event of a session, or of all of the user's.

        ``missed`` is called when some may have been lost: after a reconnect.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        ...


class SettingsFeed(Protocol):
    """What changes of preferences and of settings of models, at whichever gateway."""

    def listen(self, heard: Callable[[SettingsChanged], None], missed: Callable[[], None]) -> None:
        """Call ``heard`` for each change from now on, and ``missed`` where some may be lost."""
        ...
