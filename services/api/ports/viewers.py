"""What viewers of an answer that was begun elsewhere or earlier need from the world."""

from collections.abc import Callable
from typing import Protocol

from services.api.ports.broker import Alarm
from services.api.ports.mailbox import Mailbox
from shared.contracts.ids import CompletionId


class Listening(Protocol):
    """Something that is heard until it is closed."""

    async def close(self) -> None:
        """Stop; harmless twice."""
        ...


class Feeds(Protocol):
    """The frames of any completion, whichever gateway asked for it."""

    async def follow(
        self, completion_id: CompletionId, mailbox: Mailbox, alarm: Alarm
    ) -> Listening:
        """Put every frame from now on into ``mailbox``; call ``alarm`` when some may be lost.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        ...


class Watchers(Protocol):
    """What gateways tell workers and each other of their viewers."""

    async def say(self, completion_id: CompletionId, *, grace: bool) -> None:
        """This gateway has a viewer; with ``grace``, it had one that may come back.

        Raises:
            BrokerUnavailable: not said.
        """
        ...

    async def listen(self, completion_id: CompletionId, heard: Callable[[], None]) -> Listening:
        """Call ``heard`` whenever another gateway says that it has a viewer.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        ...
