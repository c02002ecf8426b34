"""What a reader of an answer gets, step by step."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from shared.contracts.chat import ToolCall
from shared.contracts.events import CompletionCompleted


class Missing(NamedTuple):
    """Parts of an answer that no frame brought."""

    text: str
    thinking: str
    tool_calls: Sequence[ToolCall]
    opening: bool
    """Nothing was sent before it: it must introduce the assistant."""


class Step(NamedTuple):
    """What a reader got: finished bytes, and the end if this is it."""

    data: bytes
    end: CompletionCompleted | None


class Reader(Protocol):
    """What reads the frames of this completion: ``Relay`` or ``WholeAnswer``."""

    def alarm(self) -> None:
        """Frames may have been lost."""
        ...

    def due(self) -> float:
        """When to call ``step`` if no frame comes."""
        ...

    async def step(self) -> Step:
        """What there is now."""
        ...
