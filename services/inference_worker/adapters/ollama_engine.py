"""``Engine`` over Ollama's HTTP API, through the official client."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import httpx
import ollama

from services.inference_worker.adapters.ollama_client import OllamaClient
from services.inference_worker.adapters.ollama_errors import translated
from services.inference_worker.adapters.ollama_request import chat_body
from services.inference_worker.ports import Batch, Call, Finish, Part, Text, Thinking
from shared.contracts.chat import FinishReason
from shared.contracts.completions import RunCompletion
from shared.errors import ChatError, EngineError, EngineTimeout

# More waits in the engine's socket: who reads slowly makes it generate slowly.
_MOST_PARTS: Final = 1024
_MOST_CHARACTERS: Final = 2**20
_TAIL: Final = 0.1
_LOOP: Final = 30
_MOST_TOKENS: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class QuietLimits:
    """How long an engine may be silent; a total there is none of its own."""

    first_token: timedelta = timedelta(seconds=300)
    """Loading a model and reading a long prompt take their time."""
    between_tokens: timedelta = timedelta(seconds=60)


class OllamaEngine:
    """Streams one chat at a time per call; any number of calls at once."""

    def __init__(self, client: OllamaClient, limits: QuietLimits) -> None:
        self._client = client
        self._limits = limits

    async def stream(self, run: RunCompletion) -> AsyncGenerator[Batch]:
        """See ``Engine``.

        The official client gives one part per line. A task of its own reads them into a pile, and
        each batch is the whole pile: so what one read of the connection held goes on as one,
        without a timer, and so does what came in while the broker was slow.
        """
        pile = _Pile()
        lines = self._client.stream_chat(chat_body(run))
        reading = asyncio.create_task(_read(lines, pile), name="ollama-read")
        try:
            limit = self._limits.first_token
            while True:
                try:
                    async with asyncio.timeout(limit.total_seconds()):
                        batch = await pile.take()
                except TimeoutError as error:
                    message = f"The engine was quiet for {limit.total_seconds():g} s."
                    raise EngineTimeout(message) from error
                if batch is None:
                    return
                yield batch
                if batch.parts:
                    limit = self._limits.between_tokens
        finally:
            if pile.ended:
                # Read to its end the connection can be used again.
                await asyncio.wait({reading}, timeout=_TAIL)
            # Otherwise this closes it, which is what stops Ollama.
            reading.cancel()
            await asyncio.wait({reading})


@dataclass(slots=True)
class _Pile:
    """Parts that were read and not yet taken; ``error`` and ``finish`` come after them."""

    parts: list[Part] = field(default_factory=list)
    finish: Finish | None = None
    error: ChatError | None = None
    characters: int = 0
    """In ``parts``."""
    ended: bool = False
    called: bool = False
    last: str = ""
    repeats: int = 0
    """How often the last line has said the same as the one before."""
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    taken: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self) -> Batch | None:
        """All there is, once there is something; ``None`` after the end."""
        await self.filled.wait()
        if self.parts or self.finish:
            batch = Batch(self.parts, self.finish)
            self.parts, self.finish, self.characters = [], None, 0
            if not self.ended:
                self.filled.clear()
            self.taken.set()
            return batch
        if self.error is not None:
            raise self.error
        return None

    def add(self, line: ollama.ChatResponse) -> None:
        """Put what a line says on the pile."""
        if self.ended:
            return
        found = _parts(line.message)
        self._count_repeats((line.message.content or "").strip())
        self.parts.extend(found)
        self.characters += sum(map(_length, found))
        self.called = self.called or any(isinstance(part, Call) for part in found)
        if line.done:
            self.finish = _finish(line, called=self.called)
            self.end()
        elif found:
            self.filled.set()

    def end_of_lines(self) -> None:
        """The engine has closed its answer, as it does after its last word, or instead of it.

        Ollama breaks an answer off without a last word where one token comes more than 30 times
        in a row (``server/routes.go``, measured on 0.20.7): that is an end, and no failure.
        """
        if self.repeats >= _LOOP and not self.ended:
            self.finish = Finish("length")
            self.end()

    def _count_repeats(self, text: str) -> None:
        self.repeats = self.repeats + 1 if text == self.last else 0
        self.last = text

    async def room(self) -> None:
        """Return once somebody has taken enough."""
        while self._full and not self.ended:
            self.taken.clear()
            await self.taken.wait()

    @property
    def _full(self) -> bool:
        return len(self.parts) >= _MOST_PARTS or self.characters >= _MOST_CHARACTERS

    def end(self, error: ChatError | None = None) -> None:
        """Nothing more will come; the first word on it counts."""
        if not self.ended:
            self.error = error
            self.ended = True
            self.filled.set()


async def _read(lines: AsyncGenerator[ollama.ChatResponse], pile: _Pile) -> None:
    begun = False
    try:
        async with aclosing(lines):
            async for line in lines:
                begun = True
                pile.add(line)
                await pile.room()
        pile.end_of_lines()
    except (ollama.ResponseError, httpx.HTTPError, OSError, ValueError, RecursionError) as error:
        pile.end(translated(error, begun=begun))
    finally:
        pile.end(EngineError("The engine ended its answer in the middle."))


def _parts(message: ollama.Message) -> list[Part]:
    parts: list[Part] = []
    if message.thinking:
        parts.append(Thinking(message.thinking))
    # The last line carries only statistics: its text is empty (Ollama API, ``POST /api/chat``).
    if message.content:
        parts.append(Text(message.content))
    for call in message.tool_calls or ():
        arguments = json.dumps(
            call.function.arguments, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
        parts.append(Call(call.function.name, arguments))
    return parts


def _length(part: Part) -> int:
    return len(part.name) + len(part.arguments) if isinstance(part, Call) else len(part.text)


def _finish(part: ollama.ChatResponse, *, called: bool) -> Finish:
    reason: FinishReason = "length" if part.done_reason == "length" else "stop"
    if called and reason == "stop":
        reason = "tool_calls"
    # Go leaves a count of zero out, and Ollama one that it does not know: both are no number here.
    return Finish(reason, _count(part.prompt_eval_count), _count(part.eval_count))


def _count(number: int | None) -> int | None:
    # What cannot be a count would fail later, where the end of the answer is written down.
    return number if number is not None and 0 <= number <= _MOST_TOKENS else None
