"""The seam between what readers have and what an engine says next: pure, and never a splice.

Two ways lead over it. A *replay* asks the engine for the whole answer again and swallows it while
it equals what was sent, in every channel; that is exact where a seed or temperature 0 fixes the
answer. A *continuation* lets the model go on from the text itself, as a trailing assistant message.
Whatever differs raises ``Diverged``: readers have what they have, and must not get another answer's
end.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from services.inference_worker.ports import Call, Finish, Part, Text, Thinking
from services.inference_worker.seam_stops import SeamStops
from services.inference_worker.transcript import Said
from shared.contracts.chat import Message
from shared.contracts.completions import RunCompletion


class Diverged(Exception):
    """The engine says something else than what was sent."""


class Way(Enum):
    """How an answer that broke off can go on."""

    AGAIN = auto()
    """Nothing of it was sent."""
    REPLAY = auto()
    CONTINUE = auto()
    """If the engine can do so for this model."""
    NONE = auto()


def way_on(run: RunCompletion, said: Said) -> Way:
    """How ``run`` goes on after ``said``."""
    if not said.events:
        return Way.AGAIN
    if run.sampling.seed is not None or run.sampling.temperature == 0:
        return Way.REPLAY
    # Inside thinking, JSON or a call the words that follow are not free.
    if run.response_format.type == "text" and said.text.strip() and not said.tool_calls:
        return Way.CONTINUE
    return Way.NONE


def continued(run: RunCompletion, said: Said) -> RunCompletion | None:
    """The request that makes the engine go on after ``said``; ``None`` if no token is left of it.

    Without trailing white space: templates cut it off anyway, and tokens begin with it.
    """
    sampling = run.sampling
    if sampling.max_tokens is not None:
        left = sampling.max_tokens - said.tokens
        if left <= 0:
            return None
        sampling = sampling.model_copy(update={"max_tokens": left})
    so_far = Message(role="assistant", content=said.text.rstrip(), thinking=said.thinking or None)
    return run.model_copy(update={"messages": [*run.messages, so_far], "sampling": sampling})


class Seam(Protocol):
    """Lets through what is new."""

    @property
    def stopped(self) -> bool:
        """Whether the answer ends here by a stop string of the client's."""
        ...

    def take(self, parts: Sequence[Part]) -> Sequence[Part]:
        """The parts, or rests of them, that readers do not have yet.

        Raises:
            Diverged: they contradict what readers have.
        """
        ...

    def end(self, finish: Finish) -> tuple[Sequence[Part], Finish]:
        """What was held back, and the last word with the counts of the whole answer.

        Raises:
            Diverged: the engine ended before it came to where readers are.
        """
        ...


class NoSeam:
    """Nothing was sent before."""

    stopped = False

    def take(self, parts: Sequence[Part]) -> Sequence[Part]:
        """All of them."""
        return parts

    def end(self, finish: Finish) -> tuple[Sequence[Part], Finish]:
        """The engine's own."""
        return (), finish


class Replay:
    """Swallows a second run of the same answer as far as the first one came."""

    stopped = False

    def __init__(self, said: Said) -> None:
        self._text = said.text
        self._thinking = said.thinking
        self._calls = [(call.function.name, call.function.arguments) for call in said.tool_calls]

    @property
    def _caught_up(self) -> bool:
        return not (self._text or self._thinking or self._calls)

    def take(self, parts: Sequence[Part]) -> Sequence[Part]:
        """What goes beyond; see ``Seam``."""
        if self._caught_up:
            return parts
        return [rest for part in parts if (rest := self._beyond(part)) is not None]

    def end(self, finish: Finish) -> tuple[Sequence[Part], Finish]:
        """The engine's own counts: it has made the whole answer."""
        if not self._caught_up:
            raise Diverged
        return (), finish

    def _beyond(self, part: Part) -> Part | None:
        rest: Part | None
        match part:
            case Text():
                self._text, new = _swallow(self._text, part.text)
                rest = Text(new) if new else None
            case Thinking():
                self._thinking, new = _swallow(self._thinking, part.text)
                rest = Thinking(new) if new else None
            case Call():
                rest = self._call(part)
        if rest is not None and not self._caught_up:
            raise Diverged
        return rest

    def _call(self, call: Call) -> Call | None:
        if not self._calls:
            return call
        if self._calls.pop(0) != (call.name, call.arguments):
            raise Diverged
        return None


class Continuation:
    """Joins what a model says after a text to that text."""

    def __init__(self, said: Said, stops: Sequence[str]) -> None:
        """Describe the seam.

        Args:
            said: What readers have.
            stops: The client's stop strings; the engine looks for them in its own words only.
        """
        self._blank = said.text[len(said.text.rstrip()) :]
        self._stops = SeamStops(said.text, stops)
        self._tokens = said.tokens

    @property
    def stopped(self) -> bool:
        """Whether a stop string is complete whose beginning was sent before."""
        return self._stops.met

    def take(self, parts: Sequence[Part]) -> Sequence[Part]:
        """The text without the white space that was sent already; see ``Seam``."""
        new: list[Part] = []
        for part in parts:
            if isinstance(part, Thinking):
                raise Diverged
            if isinstance(part, Call):
                # White space before a call is nothing that a call contradicts.
                self._blank = ""
                new.append(part)
                continue
            self._blank, text = _swallow(self._blank, part.text)
            text = self._stops.take(text)
            if text:
                new.append(Text(text))
        return new

    def end(self, finish: Finish) -> tuple[Sequence[Part], Finish]:
        """Counts of both pieces: the first one's tokens were counted as they went out."""
        held = self._stops.release()
        prompt, completion = finish.prompt_tokens, finish.completion_tokens
        whole = Finish(
            finish.reason,
            # The engine has read the first piece as a part of its prompt.
            None if prompt is None else max(0, prompt - self._tokens),
            None if completion is None else completion + self._tokens,
            estimated=True,
        )
        return ([Text(held)] if held else []), whole


def _swallow(expected: str, text: str) -> tuple[str, str]:
    """What is still expected after ``text``, and what of ``text`` goes beyond.

    Raises:
        Diverged: it is another text.
    """
    if not expected:
        return "", text
    if text.startswith(expected):
        return "", text[len(expected) :]
    if expected.startswith(text):
        return expected[len(text) :], ""
    raise Diverged
