"""Why a running completion must end now, told by whoever knows first."""

import asyncio
from enum import Enum


class StopReason(Enum):
    """What ends a completion from outside its engine."""

    CANCELLED = "cancelled"
    """Somebody asked for it: its client went away, or pressed stop."""
    YIELDED = "yielded"
    """Another worker was given the request and goes on with it."""
    SHUTDOWN = "shutdown"
    """This process ends and has waited as long as it may."""


class StopSignal:
    """Set once; who comes later changes nothing."""

    def __init__(self) -> None:
        self._reason: StopReason | None = None
        self._event = asyncio.Event()

    @property
    def reason(self) -> StopReason | None:
        """Why to stop; ``None`` while nobody asks for it."""
        return self._reason

    def set(self, reason: StopReason) -> None:
        """Ask the completion to stop."""
        if self._reason is None:
            self._reason = reason
            self._event.set()

    async def wait(self) -> None:
        """Return once somebody asks."""
        await self._event.wait()
