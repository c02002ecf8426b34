"""Refusals in the audit: each that is new at once, and of a flood its count.

Whoever is refused decides how often that happens, so no more than a bounded number of lines may
come of it: of one address, caller, target and reason the first in a minute is written, the others
are counted and said together when the minute is over; and of more of these than the table holds,
only the reason counts.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.api.access.addresses import site_of
from shared.contracts.audit import Actor
from shared.observability import audit

WINDOW: Final = 60.0
_LOOK_EVERY: Final = 5.0
MOST: Final = 500
"""Those that are told apart at once."""
REFUSED: Final = "request.refuse"
CLOSED: Final = "socket.close"

_Key = tuple[str, str | None, str | None, str | None, str]


@dataclass(slots=True)
class _Flood:
    until: float
    actor: Actor
    target: str | None
    more: int = 0


class RefusalLog:
    """Of one gateway."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Nobody was refused; ``clock`` gives monotonic seconds."""
        self._clock = clock
        self._floods: dict[_Key, _Flood] = {}

    def refused(self, action: str, actor: Actor, target: str, code: str) -> None:
        """Somebody was: ``code`` says why."""
        address = site_of(actor.address) if actor.address is not None else None
        key: _Key = (action, address, actor.user, target, code)
        told: str | None = target
        if key not in self._floods and len(self._floods) >= MOST:
            # Whose it is counts no more: strangers choose their addresses.
            key, actor, told = (action, None, None, None, code), Actor(via=actor.via), None
        flood = self._floods.get(key)
        now = self._clock()
        if flood is not None and now < flood.until:
            flood.more += 1
            return
        if flood is not None:
            self._tell(key, flood)
        self._floods[key] = _Flood(now + WINDOW, actor, told)
        audit.record(action, actor=actor, target=told, outcome=code)

    async def keep(self) -> None:
        """Say what was counted when its minute is over, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            self.settle()

    def settle(self) -> None:
        """Say what was counted in minutes that are over, and forget them."""
        now = self._clock()
        for key, flood in list(self._floods.items()):
            if flood.until <= now:
                self._tell(key, flood)
                del self._floods[key]

    def close(self) -> None:
        """Say all that was counted."""
        for key, flood in self._floods.items():
            self._tell(key, flood)
        self._floods.clear()

    def _tell(self, key: _Key, flood: _Flood) -> None:
        if flood.more:
            # Of many requests there is no one id.
            actor = flood.actor.model_copy(update={"request_id": None, "sent_request_id": None})
            action, _, _, _, code = key
            audit.record(action, actor=actor, target=flood.target, outcome=code, count=flood.more)
