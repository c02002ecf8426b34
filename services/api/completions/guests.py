"""What a gateway does for a completion that another one has admitted, while it has viewers of it.

The asking gateway may be gone: then nobody else watches, nobody else holds the session's turn, and
nobody else stops the work when the last viewer leaves.
"""

import structlog

from services.api.completions.running import Desk
from services.api.completions.seating import Seat
from services.api.ports.mailbox import Mailbox
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

_CANCELLED_WITHIN = 10.0


class Guests:
    """Viewers of answers that were begun elsewhere or earlier, all of this gateway."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._watching = desk.watching
        self._lingering = desk.lingering
        self._seating = desk.seating
        self._seats: dict[CompletionId, Seat] = {}

    def enter(self, accepted: CompletionAccepted) -> None:
        """A viewer has come."""
        self._watching.enter(accepted.completion_id)
        self._desk.background.spawn(self._welcome(accepted), "viewer-came")

    async def ended(self, accepted: CompletionAccepted, end: CompletionCompleted) -> None:
        """A viewer has heard the end, and is about to say so."""
        self._watching.leave(accepted.completion_id)
        await self._give_back(accepted.completion_id, end)

    async def left(self, accepted: CompletionAccepted, mailbox: Mailbox, overall: float) -> None:
        """A viewer has left before the end: for the last one, wait whether it comes back."""
        completion_id = accepted.completion_id
        self._watching.leave(completion_id)
        if self._desk.drain.begun or not self._lingering.grace:
            # Without a grace nobody can tell whether there are viewers elsewhere.
            self._forget(completion_id)
            return
        if self._watching.has_viewer(completion_id) or self._watching.in_grace(completion_id):
            return
        end, forsaken = await self._lingering.wait(completion_id, mailbox, overall)
        if forsaken:
            log.info("completion_forsaken", completion_id=completion_id)
            await self._desk.cancelling.cancel(completion_id, None)
            until = self._desk.clock.monotonic() + _CANCELLED_WITHIN
            end = await self._lingering.end_of(completion_id, mailbox, until)
        if end is not None:
            await self._give_back(completion_id, end)
        elif not self._watching.has_viewer(completion_id):
            self._forget(completion_id)

    async def _welcome(self, accepted: CompletionAccepted) -> None:
        completion_id = accepted.completion_id
        await self._watching.tell(completion_id)
        if accepted.turn is None or completion_id in self._seats:
            return
        try:
            seat = await self._seating.adopt(accepted)
        except BrokerUnavailable:
            return
        if seat is None:
            return
        self._seats[completion_id] = seat
        if not self._watching.has_viewer(completion_id):
            # Meanwhile it has ended, or its viewer has left.
            end = await self._recorded(completion_id)
            if end is not None:
                await self._give_back(completion_id, end)
            elif not self._watching.in_grace(completion_id):
                self._forget(completion_id)

    async def _recorded(self, completion_id: CompletionId) -> CompletionCompleted | None:
        try:
            return await self._desk.journal.completed(completion_id)
        except BrokerUnavailable:
            return None

    async def _give_back(self, completion_id: CompletionId, end: CompletionCompleted) -> None:
        seat = self._seats.pop(completion_id, None)
        if seat is None:
            return
        # An end frame has no text, and the next turn is placed by the digest of it.
        whole = await self._recorded(completion_id) or end
        try:
            await self._seating.leave(seat, whole)
        except BrokerUnavailable:
            self._desk.background.spawn(self._seating.leave_patiently(seat, whole), "leave-session")

    def _forget(self, completion_id: CompletionId) -> None:
        seat = self._seats.pop(completion_id, None)
        if seat is not None:
            self._seating.forget(seat)
