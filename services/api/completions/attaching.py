"""Start what an idempotency key stands for: run it, follow it, or repeat how it ended."""

from typing import Protocol

from services.api.completions.completions import Completions
from services.api.completions.followed import Followed
from services.api.completions.following import Following
from services.api.completions.idempotency import Claim, Idempotency, Standing
from services.api.completions.orders import Order
from services.api.limits.quota import Levels
from services.api.ports.broker import AlreadyAccepted, Journal
from services.api.ports.queue_news import QueueNews
from services.api.streams.delivery import Delivery
from services.api.streams.numbering import FROM_THE_START
from services.api.streams.steps import Missing, Step
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.errors import BrokerUnavailable, ChatError, SessionBusy


class Reading(Protocol):
    """An answer in the hands of one request."""

    @property
    def begun(self) -> bool:
        """Whether an engine may have worked on it."""
        ...

    @property
    def queue_news(self) -> QueueNews | None:
        """How it stands in the queue, as long as it waits there and that is known."""
        ...

    @property
    def levels(self) -> Levels | None:
        """How its caller stood when it was started; ``None`` where nothing was started."""
        ...

    def wake(self) -> None:
        """Let ``next`` return and look around."""
        ...

    async def next(self, until: float) -> Step:
        """The next bytes, the end, or nothing once it is ``until`` or somebody has woken it."""
        ...

    def abandon(self) -> None:
        """This request reads no further; harmless after the end."""
        ...


class Starter(Protocol):
    """Gives an order its answer."""

    async def start(self, order: Order, delivery: Delivery | None) -> Reading:
        """Begin; ``delivery`` is ``None`` for an answer in one piece."""
        ...


class Attached:
    """Another request's completion, streamed or whole."""

    begun = True
    queue_news = None
    levels = None

    def __init__(self, followed: Followed, journal: Journal, *, whole: bool) -> None:
        self._followed = followed
        self._journal = journal
        self._whole = whole
        self.wake = followed.wake
        self.abandon = followed.abandon

    async def next(self, until: float) -> Step:
        """As ``Followed`` has it; for a whole answer the end with all of its text."""
        step = await self._followed.next(until)
        if step.end is None or not self._whole:
            return step
        # An end frame has no text; the event stands before the frame is sent.
        return Step(b"", await self._journal.completed(step.end.completion_id) or step.end)


class Ended:
    """An answer in one piece that is there already."""

    begun = True
    queue_news = None
    levels = None

    def __init__(self, end: CompletionCompleted) -> None:
        self._end = end

    def wake(self) -> None:
        """Nothing to wake."""

    async def next(self, until: float) -> Step:
        """The end."""
        del until
        return Step(b"", self._end)

    def abandon(self) -> None:
        """Nothing to stop."""


class Keyed:
    """``Starter`` for one claim of a key."""

    def __init__(
        self,
        claim: Claim,
        *,
        completions: Completions,
        following: Following,
        idempotency: Idempotency,
        journal: Journal,
    ) -> None:
        self._claim = claim
        self._completions = completions
        self._following = following
        self._idempotency = idempotency
        self._journal = journal

    async def start(self, order: Order, delivery: Delivery | None) -> Reading:
        """Run it where the key is ours, else follow who runs it.

        Raises:
            ChatError: it is refused; the key is free again then.
        """
        claim = self._claim
        if claim.standing is Standing.OURS:
            try:
                return await self._completions.start(order, delivery)
            except AlreadyAccepted:
                # Who had the key before was slow, not dead.
                return await self._follow(await self._accepted(), delivery)
            except BrokerUnavailable:
                # It may run all the same: who comes again with the key will see.
                raise
            except ChatError as error:
                # A session that this very completion keeps busy: somebody else has begun it.
                if isinstance(error, SessionBusy) and (begun := await self._begun()) is not None:
                    return await self._follow(begun, delivery)
                await self._idempotency.release(claim)
                raise
        if claim.end is not None and delivery is None:
            return Ended(claim.end)
        return await self._follow(await self._accepted(), delivery)

    async def _begun(self) -> CompletionAccepted | None:
        return await self._journal.accepted(self._claim.completion_id)

    async def _accepted(self) -> CompletionAccepted:
        claim = self._claim
        accepted = claim.accepted or await self._begun()
        if accepted is not None:
            return accepted
        end = claim.end
        if end is None:
            raise BrokerUnavailable("The message broker has lost this completion; try again.")
        return CompletionAccepted(
            completion_id=end.completion_id,
            user_id=end.user_id,
            model=end.model,
            accepted_at=end.created_at,
            overdue_after_s=0,
        )

    async def _follow(self, accepted: CompletionAccepted, delivery: Delivery | None) -> Reading:
        followed = await self._following.follow(
            accepted, delivery or Delivery(_unread, None), FROM_THE_START
        )
        assert followed is not None, "from the start there is always something to say"
        return Attached(followed, self._journal, whole=delivery is None)


def _unread(_missing: Missing) -> bytes:
    """Deltas of an answer that is sent whole."""
    return b""
