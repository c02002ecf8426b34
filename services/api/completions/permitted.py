"""What a caller has begun: for models that he may ask, and as long as his key is valid."""

from services.api.access.caller import Caller
from services.api.access.presence import Presence
from services.api.access.refusals import NotAuthenticated
from services.api.completions.attaching import Reading, Starter
from services.api.completions.orders import Order
from services.api.limits.quota import Levels
from services.api.ports.queue_news import QueueNews
from services.api.streams.delivery import Delivery
from services.api.streams.steps import Step


class Attended:
    """``Reading`` that ends with its caller's key."""

    def __init__(self, reading: Reading, caller: Caller, presence: Presence) -> None:
        self._reading = reading
        self._caller = caller
        self._presence = presence
        self.wake = reading.wake
        self._visit = presence.enter(caller, reading.wake)

    @property
    def begun(self) -> bool:
        """Whether an engine may have worked on it."""
        return self._reading.begun

    @property
    def queue_news(self) -> QueueNews | None:
        """How it stands in the queue, as long as it waits there and that is known."""
        return self._reading.queue_news

    @property
    def levels(self) -> Levels | None:
        """How its caller stood when it was started; ``None`` where nothing was started."""
        return self._reading.levels

    @property
    def refused(self) -> bool:
        """Whether the key is no longer valid."""
        return self._visit.over

    async def next(self, until: float) -> Step:
        """The next bytes, the end, or nothing.

        Raises:
            NotAuthenticated: the caller's key was revoked, or the user is being removed.
        """
        self._check()
        step = await self._reading.next(until)
        if step.end is None:
            self._check()
        return step

    def abandon(self) -> None:
        """This request reads no further; harmless after the end."""
        self._presence.leave(self._caller, self._visit)
        self._reading.abandon()

    def _check(self) -> None:
        if self._visit.over:
            raise NotAuthenticated(
                "The API key of this request was revoked, or its user is being removed."
            )


class Permitted:
    """``Starter`` for one caller."""

    def __init__(
        self,
        caller: Caller,
        completions: Starter,
        presence: Presence,
    ) -> None:
        self._caller = caller
        self._completions = completions
        self._presence = presence

    async def start(self, order: Order, delivery: Delivery | None) -> Reading:
        """Begin it.

        Raises:
            ModelNotFound: none that the caller may ask.
            ChatError: it is refused for another reason.
        """
        self._caller.check_model(order.model)
        reading = await self._completions.start(order, delivery)
        return Attended(reading, self._caller, self._presence)
