"""What a completion needs of the world: an engine, and what the broker carries and keeps."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.contracts.chat import FinishReason
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame
from shared.contracts.ids import CompletionId


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """A piece of what the model thinks before it answers; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function that the model wants called, whole; ``arguments`` is JSON text."""

    name: str
    arguments: str


Part = Text | Thinking | Call


@dataclass(frozen=True, slots=True)
class Finish:
    """The engine's last word; a count is ``None`` where it gave none, which is not zero."""

    reason: FinishReason
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    estimated: bool = False
    """Whether the counts were put together from pieces of several runs."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read of the engine held; the last batch of a stream has ``finish``."""

    parts: Sequence[Part]
    finish: Finish | None = None


class Engine(Protocol):
    """A language-model engine."""

    def stream(self, run: RunCompletion) -> AsyncGenerator[Batch]:
        """Generate an answer; the batches come in order and only the last one has ``finish``.

        Closing the generator, or cancelling who waits for it, makes the engine stop at once.

        Raises:
            ModelNotFound: the engine does not have the model.
            ContextLengthExceeded: the prompt does not fit the window that is loaded.
            InvalidRequest: the engine refuses the request for another reason.
            EngineUnavailable: it cannot be reached, or went away before its first word.
            EngineBusy: its own queue is full.
            EngineTimeout: it was quiet for longer than it may be.
            EngineError: it failed, or ended without a last word.
        """
        ...


class Job(Protocol):
    """A request that this worker pulled and now owns, until it is acknowledged or given back."""

    @property
    def data(self) -> bytes:
        """The request as it was queued."""
        ...

    @property
    def deliveries(self) -> int:
        """How often it was handed to a worker, this time included. Not the number of attempts."""
        ...

    @property
    def pulled_at(self) -> float:
        """When it was pulled, on this process's monotonic clock."""
        ...

    @property
    def ack_wait(self) -> float:
        """Seconds of silence after which the broker gives the request to somebody else."""
        ...

    async def in_progress(self) -> None:
        """Say that it is still worked on."""
        ...

    async def ack(self) -> None:
        """Take it off the queue for good.

        Raises:
            BrokerUnavailable: the broker did not confirm it.
        """
        ...

    async def give_back(self, *, delay: float = 0.0) -> None:
        """Let the next worker have it, after ``delay`` seconds."""
        ...

    async def drop(self) -> None:
        """Take it off the queue unanswered."""
        ...


class Frames(Protocol):
    """The way to whoever reads along: a preview, which may lose frames but never their order."""

    @property
    def room(self) -> int:
        """The most bytes that the body of one frame may have."""
        ...

    async def send(self, subject: str, frame: Frame) -> None:
        """Put the frame on its way before anything else is awaited; waits for a slow broker.

        A broker that is away is no error: ``completed`` is the truth.
        """
        ...


class Ledger(Protocol):
    """What the broker keeps of completions.

    Raises (every call):
        BrokerUnavailable: the broker did not answer, or cannot take it at present.
    """

    async def completed(self, completion_id: CompletionId) -> CompletionCompleted | None:
        """The end of this completion, if it has one already."""
        ...

    async def complete(self, completion_id: CompletionId, payload: bytes) -> bytes:
        """Record the end; the first writer wins. Gives what is recorded now."""
        ...

    async def cancelled(self, completion_id: CompletionId) -> bool:
        """Whether somebody has asked to cancel it, before or while it runs."""
        ...

    def frames(
        self, completion_id: CompletionId, after: int, up_to: int | None = None
    ) -> AsyncGenerator[tuple[int, Frame]]:
        """The frames that were sent for it with their sequences, from ``after`` (exclusive) on."""
        ...

    async def take_over(self, subject: str, frame: Frame) -> int:
        """Send a ``TAKEOVER`` frame and wait until it is kept; gives its sequence."""
        ...

    async def spent(self, subject: str) -> float:
        """Seconds from the first to the last frame kept on ``subject``, by the broker's clock."""
        ...

    async def bury(self, data: bytes, reason: str) -> None:
        """Keep a request that nobody can read, with the reason."""
        ...


class Asked(Protocol):
    """A running completion, as it takes what others ask of it."""

    @property
    def last_index(self) -> int:
        """Index of the last event that was sent; -1 before the first."""
        ...

    def cancel(self) -> None:
        """End it: somebody pressed stop, or its client went away."""
        ...

    def watched(self) -> None:
        """Somebody reads along."""
        ...

    async def resend(self) -> None:
        """Send a snapshot: frames were lost."""
        ...

    async def yield_to_successor(self) -> bool:
        """Stop and fall silent; true once that is so."""
        ...


class Control(Protocol):
    """The ear of a running completion, and the way to another worker's."""

    def listen(
        self, completion_id: CompletionId, asked: Asked
    ) -> AbstractAsyncContextManager[None]:
        """Pass requests on while the context is open, which it is only once proven live.

        Raises:
            BrokerUnavailable: on entering: the subscription did not become live.
        """
        ...

    async def call_off(self, completion_id: CompletionId) -> None:
        """Make a worker that still runs it stop, if it lives; waits at most a second or two.

        Raises:
            BrokerUnavailable: the broker is away.
        """
        ...
