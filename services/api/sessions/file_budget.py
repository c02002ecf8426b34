"""How many bytes of files a gateway holds at once, of one user and of all.

Places are for what takes time; this is for memory: bodies that wait for a place, and exports that a
slow client reads, take none.
"""

from typing import Final

from shared.contracts.ids import UserId
from shared.errors import GatewayBusy, PayloadTooLarge, RateLimited

_AGAIN: Final = 5.0
"""Seconds after which it may be asked for again; files are sent, or given up, by and by."""


class FileBudget:
    """Of one gateway."""

    def __init__(self, most: int) -> None:
        """Nothing is held; all files together may take ``most`` bytes, one user's half of them."""
        self._most = most
        self._per_user = most // 2
        self._held: dict[UserId, int] = {}

    def check(self, user_id: UserId, size: int, held: int) -> None:
        """Go on with a file of ``size`` bytes of which ``held`` are held; no more are by that.

        Raises:
            PayloadTooLarge: so many are never held for one user.
            RateLimited: this user has too many now.
            GatewayBusy: all have too many now.
        """
        more = size - held
        if size > self._per_user:
            text = f"This file has more than {self._per_user} bytes, which is too much here."
            raise PayloadTooLarge(text)
        if self._held.get(user_id, 0) + more > self._per_user:
            text = (
                f"Your files that are under way here take more than {self._per_user} bytes; "
                f"wait until one of them is done."
            )
            raise RateLimited(text, retry_after=_AGAIN)
        if sum(self._held.values()) + more > self._most:
            raise GatewayBusy("Too many files are under way here; try again in a few seconds.")

    def change(self, user_id: UserId, by: int) -> None:
        """Hold so many bytes more, or fewer."""
        held = self._held.pop(user_id, 0) + by
        if held:
            self._held[user_id] = held


class Share:
    """What one request holds of it; close it when its answer is out."""

    def __init__(self, budget: FileBudget, user_id: UserId) -> None:
        self._budget = budget
        self._user_id = user_id
        self._size = 0

    def declare(self, size: int) -> None:
        """Go on with a file that is said to have so many bytes; nothing is held for words.

        Raises:
            ChatError: see ``FileBudget.check``.
        """
        self._budget.check(self._user_id, size, self._size)

    def hold(self, size: int) -> None:
        """Hold so many bytes from now on, in all.

        Raises:
            ChatError: see ``FileBudget.check``.
        """
        if size > self._size:
            self._budget.check(self._user_id, size, self._size)
        self._budget.change(self._user_id, size - self._size)
        self._size = size

    def close(self) -> None:
        """Hold nothing."""
        self.hold(0)
