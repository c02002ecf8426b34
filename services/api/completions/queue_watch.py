"""Tell those who wait in the queue how they stand: one look per lane for all of them.

Most requests are taken at once: only after a moment does anybody look, and only while one waits.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import structlog

from services.api.background import Background
from services.api.ports.broker import Clock
from services.api.ports.queue import Depths
from services.api.ports.queue_news import Depth, Pace, Place, QueueNews, in_lane_b, news
from shared.contracts.subjects import LANES
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

EVERY: Final = 2.0
_A_MOMENT: Final = 0.25


class Ticket:
    """One who waits; ``news`` is what was last found out."""

    def __init__(self, line: "_Line", lane: str, number: int) -> None:
        self.lane = lane
        self.place = Place(number)
        self.news: QueueNews | None = None
        self.on_change: Callable[[], None] = _nobody
        self._line = line

    def leave(self) -> None:
        """It waits no longer; harmless twice."""
        self.news, self.on_change = None, _nobody
        self._line.tickets.discard(self)


class _Line:
    """All who wait for one model."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.tickets: set[Ticket] = set()
        self.watched = False
        self.paces: dict[str, Pace] = defaultdict(Pace)

    def lanes(self) -> list[str]:
        """Those that somebody here must know of."""
        first, _ = LANES
        waited = {ticket.lane for ticket in self.tickets}
        return [lane for lane in LANES if lane == first or lane in waited]

    def tell(self, depths: dict[str, Depth], now: float) -> None:
        """Let everybody know what has changed."""
        per_second = sum(self.paces[lane].per_second() for lane in depths)
        since = now - max(self.paces[lane].last for lane in depths)
        for ticket in list(self.tickets):
            if ticket.lane not in depths:
                continue
            found = self._news(ticket, depths, per_second, since)
            if found != ticket.news:
                ticket.news = found
                ticket.on_change()

    def _news(
        self, ticket: Ticket, depths: dict[str, Depth], per_second: float, since: float
    ) -> QueueNews | None:
        first, _ = LANES
        behind = sum(
            other.lane == ticket.lane and other.place.number > ticket.place.number
            for other in self.tickets
        )
        position = ticket.place.position(depths[ticket.lane], behind)
        if position is None:
            return None
        if ticket.lane != first:
            position = in_lane_b(position, depths[first].pending)
        return news(position, per_second, since)


class QueueWatch:
    """Who waits at this gateway, by model."""

    def __init__(
        self,
        depths: Depths,
        background: Background,
        clock: Clock,
        *,
        every: float = EVERY,
        a_moment: float = _A_MOMENT,
    ) -> None:
        """Nobody waits yet.

        Args:
            depths: Where to look.
            background: Looks go on while anybody waits.
            clock: For the pace.
            every: Seconds between two looks.
            a_moment: Seconds that a request waits before anybody looks.
        """
        self._depths = depths
        self._background = background
        self._clock = clock
        self._every = every
        self._a_moment = a_moment
        self._lines: dict[str, _Line] = {}

    def join(self, model: str, lane: str, number: int) -> Ticket:
        """Somebody waits from now on, until the ticket is left."""
        line = self._lines.setdefault(model, _Line(model))
        ticket = Ticket(line, lane, number)
        line.tickets.add(ticket)
        if not line.watched:
            line.watched = True
            loop = asyncio.get_running_loop()
            loop.call_later(self._a_moment, self._begin, line)
        return ticket

    def _begin(self, line: _Line) -> None:
        if line.tickets:
            self._background.spawn(self._watch(line), f"queue-{line.model}")
        else:
            self._forget(line)

    def _forget(self, line: _Line) -> None:
        line.watched = False
        self._lines.pop(line.model, None)

    async def _watch(self, line: _Line) -> None:
        try:
            while line.tickets:
                await self._look(line)
                await asyncio.sleep(self._every)
        finally:
            self._forget(line)

    async def _look(self, line: _Line) -> None:
        try:
            depths = {lane: await self._depths.look(line.model, lane) for lane in line.lanes()}
        except BrokerUnavailable:
            log.debug("queue_not_seen", model=line.model)
            return
        now = self._clock.monotonic()
        for lane, depth in depths.items():
            line.paces[lane].see(now, depth.delivered)
        line.tell(depths, now)


def _nobody() -> None:
    """Nobody wants to be told."""
