"""One generation: an answer's pieces at their pace, up to their end or a fault."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deploy.local.demo_engine.answer import Piece
from deploy.local.demo_engine.faults import ERROR_TEXT, Fault
from deploy.local.demo_engine.http_server import Exchange
from deploy.local.demo_engine.journal import Entry
from deploy.local.demo_engine.replies import Reply
from deploy.local.demo_engine.stops import StopFilter

LATEST = 0.05
"""Seconds by which tokens may be late and still be sent faster to make up for it."""


LOOP = 31
"""Times that a token comes before Ollama takes it for a loop."""


class Sampling:
    """Ends an answer at its budget of new tokens, or at a stop string in its content.

    ``reason`` and ``produced`` (tokens, also those of a stop string) hold when ``pieces`` is
    through. An answer that uses its budget up ends with "length", also where it was complete: a
    model's end is a token of its own.
    """

    def __init__(self, budget: int | None, stops: Sequence[str]) -> None:
        self._budget = budget
        self._stops = StopFilter(stops)
        self.reason: Literal["stop", "length"] = "stop"
        self.produced = 0

    def pieces(self, answer: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces that go out; text that may become a stop string is held back."""
        held = 0
        answer = iter(answer)
        while not self._used_up():
            piece = next(answer, None)
            if piece is None:
                break
            if self._budget is not None and piece.tokens > self._budget - self.produced:
                self.produced, self.reason = self._budget, "length"  # a tool call, broken off
                break
            self.produced += piece.tokens
            if piece.kind != "content":
                yield piece
                continue
            held += piece.tokens
            text, found = self._stops.feed(piece.text)
            if text:
                yield Piece("content", text, held)
                held = 0
            if found:
                self.reason = "stop"
                return
        if rest := self._stops.flush():
            yield Piece("content", rest, held)

    def _used_up(self) -> bool:
        if self._budget is None or self.produced < self._budget:
            return False
        self.reason = "length"
        return True


@dataclass(frozen=True)
class Pace:
    """Seconds before the first token, and between tokens (0 is as fast as possible)."""

    first_token: float
    per_token: float


class Generation:
    """Runs one answer into one reply and keeps its entry in the journal."""

    def __init__(self, pace: Pace, fault: Fault | None, gate: asyncio.Event, entry: Entry) -> None:
        self._pace = pace
        self._fault = fault
        self._gate = gate
        self._entry = entry
        self._sent = 0
        self._due = 0.0

    async def run(
        self, answer: Iterable[Piece], sampling: Sampling, reply: Reply, exchange: Exchange
    ) -> None:
        """Send the answer; a client's going away cancels this wherever it waits."""
        began = time.perf_counter_ns()
        await asyncio.sleep(self._pace.first_token)
        first = time.perf_counter_ns()
        self._due = time.monotonic()
        for piece in sampling.pieces(answer):
            await self._gate.wait()
            if await self._struck(piece, reply, exchange):
                return
            await self._wait_turn(piece)
            await self._gate.wait()
            await reply.piece(piece)
            self._sent += piece.tokens
            self._entry.sent(piece.tokens)
        await self._gate.wait()
        if await self._struck(Piece("content", " ", 0), reply, exchange):
            return
        ending = self._ending(sampling, began, first)
        await reply.done(ending)
        if self._fault is not None and self._fault.kind == "slowclose":
            self._entry.fault = self._fault.name
            self._entry.end(f"fault:{self._fault.name}")
            if not exchange.finished:
                await asyncio.Event().wait()
            return
        # The entry is closed in the same breath as the reply: a client that leaves right after
        # the last line has got all of it.
        reply.finish()
        self._entry.end("length" if sampling.reason == "length" else "done")

    async def _wait_turn(self, piece: Piece) -> None:
        now = time.monotonic()
        # A late timer is made up for; a pause (a closed gate, a slow reader) is not.
        self._due = max(self._due, now - LATEST)
        await asyncio.sleep(max(0.0, self._due - now))
        self._due += piece.tokens * self._pace.per_token

    async def _struck(self, piece: Piece, reply: Reply, exchange: Exchange) -> bool:
        """Let the fault strike if it is due; a stall never returns."""
        fault = self._fault
        if fault is None or fault.kind == "slowclose" or self._sent < fault.after:
            return False
        self._entry.fault = fault.name
        if fault.kind == "stall":
            await asyncio.Event().wait()
        self._entry.end(f"fault:{fault.name}")
        match fault.kind:
            case "error":
                await reply.error(ERROR_TEXT)
                reply.finish()
            case "eof":
                reply.finish()
            case "loop":
                for _ in range(LOOP):
                    await reply.piece(Piece("content", " loop"))
                    self._entry.sent(1)
                reply.finish()
            case "half":
                await reply.half(piece)
                exchange.cut()
            case _:
                exchange.cut()
        return True

    def _ending(self, sampling: Sampling, began: int, first: int) -> dict[str, Any]:
        now = time.perf_counter_ns()
        total = int((time.time() - self._entry.received_at) * 1e9)
        ending = {
            "done_reason": sampling.reason,
            "total_duration": max(total, now - began),
            "load_duration": max(1, total - (now - began)),
            "prompt_eval_count": self._entry.prompt_tokens,
            "prompt_eval_duration": max(1, first - began),
            "eval_count": sampling.produced,
            "eval_duration": max(1, now - first),
        }
        # Go leaves a count of zero out; so a client sees no eval_count, not 0.
        return {key: value for key, value in ending.items() if value}
