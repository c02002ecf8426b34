"""Everything that there is of one user, for administrators: how much, and its removal."""

from services.api.ports.sessions import Asking
from shared.contracts.ids import UserId
from shared.contracts.user_purge import (
    PURGE_USER,
    USER_DATA,
    PurgeUser,
    UserDataQuery,
    UserDataReply,
)


class UserAdmin:
    """The use case behind the routes.

    Raises (every call):
        HistoryUnavailable: nobody answers, or its database or its broker is away.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def look(self, user_id: UserId) -> UserDataReply:
        """How much there is, and how far its removal is."""
        return await self._asking.ask(USER_DATA, UserDataQuery(user_id=user_id))

    async def purge(self, user_id: UserId) -> UserDataReply:
        """Have it removed; what has begun is done, whatever becomes of this process."""
        return await self._asking.ask(PURGE_USER, PurgeUser(user_id=user_id))
