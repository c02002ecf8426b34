"""``Teller`` that keeps what was told."""

from shared.contracts.ids import UserId
from shared.contracts.live import LiveEvent, SettingsChanged


class Told:
    """Words on sessions and on settings, in order."""

    def __init__(self) -> None:
        self.events: list[LiveEvent] = []
        self.users: list[UserId] = []
        self.settings: list[SettingsChanged] = []

    async def of_session(self, user_id: UserId, event: LiveEvent) -> None:
        self.users.append(user_id)
        self.events.append(event)

    async def of_settings(self, event: SettingsChanged) -> None:
        self.settings.append(event)

    @property
    def types(self) -> list[str]:
        """What has happened to sessions."""
        return [event.type for event in self.events]
