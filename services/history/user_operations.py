"""Who answers questions about all that there is of one user."""

from collections.abc import Sequence
from typing import Any

from services.history.acts import user_purged
from services.history.handlers import Operation
from services.history.user_purging import UserPurging
from shared.contracts.user_purge import PURGE_USER, USER_DATA


def user_operations(purging: UserPurging) -> Sequence[Operation[Any, Any]]:
    """How much there is, and its removal."""
    return (
        Operation(USER_DATA, purging.look),
        Operation(PURGE_USER, purging.begin, act=user_purged),
    )
