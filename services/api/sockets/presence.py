"""How many sockets a session has open, at all gateways; said only while somebody wants to know."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from services.api.schemas.sockets import Participants
from services.api.sockets.outlet import Outlet
from shared.tasks import end_tasks

_BEAT: Final = 10.0
"""Seconds between two questions of who wants to know."""
_AGE: Final = 3 * _BEAT
"""After which a gateway that says nothing has none, and one that was asked need not tell more."""


class Say(Protocol):
    """Tell all gateways how many are here, and ask how many are there."""

    async def __call__(self, participants: int, *, asks: bool) -> None:
        """Never fails: what was not said is said again."""
        ...


class Presence:
    """Counts for one session at one gateway.

    A gateway says so when it gets its first socket of the session and when it loses the last one.
    Where one wants to know, all gateways are asked, once in a while; who was asked tells of every
    change for as long. Nobody keeps any of it.
    """

    def __init__(
        self, outlets: set[Outlet], gateway_id: str, say: Say, clock: Callable[[], float]
    ) -> None:
        """Nobody is known elsewhere.

        Args:
            outlets: The sockets here; their set is the room's.
            gateway_id: Whose own words are not counted twice.
            say: Tell the other gateways how many are here, and ask how many are there.
            clock: Monotonic seconds.
        """
        self._outlets = outlets
        self._gateway_id = gateway_id
        self._say = say
        self._clock = clock
        self._others: dict[str, tuple[int, float]] = {}
        self._asked_at = -_AGE
        self._news = asyncio.Event()
        self._asks = True
        self._telling: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """A socket has come or gone here."""
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell_on(), name="presence-tells")
        self._asks = self._asks or self._is_wanted()
        self._news.set()
        self._show()

    def heard(self, gateway_id: str, count: int, *, asks: bool) -> None:
        """Another gateway has said how many it has."""
        if gateway_id == self._gateway_id:
            return
        if gateway_id not in self._others and self._is_wanted():
            # It has not been asked to tell of changes.
            self._asks = True
            self._news.set()
        if count:
            self._others[gateway_id] = (count, self._clock())
        else:
            self._others.pop(gateway_id, None)
        if asks:
            self._asked_at = self._clock()
            self._news.set()
        self._show()

    async def close(self) -> None:
        """The last socket here has gone."""
        if self._telling is not None:
            await end_tasks([self._telling])
            await self._say(0, asks=False)

    def _is_wanted(self) -> bool:
        return any(outlet.presence for outlet in self._outlets)

    def _is_asked(self) -> bool:
        return self._clock() - self._asked_at < _AGE

    def _show(self) -> None:
        now = self._clock()
        self._others = {
            gateway: (count, at) for gateway, (count, at) in self._others.items() if now - at < _AGE
        }
        total = len(self._outlets) + sum(count for count, _ in self._others.values())
        for outlet in list(self._outlets):
            outlet.present(Participants(participants=total))

    async def _tell_on(self) -> None:
        new = True
        while True:
            wanted = self._is_wanted()
            if new or wanted or self._is_asked():
                asks, self._asks, new = self._asks and wanted, False, False
                await self._say(len(self._outlets), asks=asks)
            self._news.clear()
            try:
                async with asyncio.timeout(_BEAT):
                    await self._news.wait()
            except TimeoutError:
                self._asks = True
                self._show()
