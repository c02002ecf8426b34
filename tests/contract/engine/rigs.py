"""The engines that must behave alike: the fake of the unit tests, and Ollama over HTTP."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from services.inference_worker.adapters.ollama_client import build_client
from services.inference_worker.adapters.ollama_engine import OllamaEngine, QuietLimits
from services.inference_worker.ports import Batch, Call, Engine, Finish, Part, Text, Thinking
from shared.errors import (
    ChatError,
    ContextLengthExceeded,
    EngineBusy,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)
from tests.fakes.inference_worker.http_engine import Cut, Hang, HttpEngine, HttpStep, Lines, Status
from tests.fakes.inference_worker.http_engine import line as http_line
from tests.fakes.inference_worker.scripted_engine import ScriptedEngine, Step

QUIET = QuietLimits(timedelta(milliseconds=400), timedelta(milliseconds=200))


@dataclass(frozen=True)
class Fails:
    """The engine fails here, in the way that must come out as ``error``."""

    error: type[ChatError]


@dataclass(frozen=True)
class Waits:
    """The engine is silent here for longer than a test lasts."""


Play = Sequence[Batch | Fails | Waits]


class Rig(Protocol):
    """One implementation of ``Engine``, and what stands behind it."""

    async def engine(self, play: Play, *, patient: bool = True) -> Engine:
        """An engine that plays this for every stream; an impatient one bounds its silence."""
        ...

    def open(self) -> int:
        """How many streams the engine is working on."""
        ...


class ScriptedRig:
    """The fake."""

    def __init__(self) -> None:
        self._engine = ScriptedEngine()

    async def engine(self, play: Play, *, patient: bool = True) -> Engine:
        """See ``Rig``."""
        script: list[Step] = []
        for act in play:
            if isinstance(act, Batch):
                script.append(act)
            elif isinstance(act, Fails):
                script.append(act.error("as the play says"))
            else:
                script.append(asyncio.Event() if patient else EngineTimeout("quiet"))
        self._engine = ScriptedEngine(*([script] * 200))
        return self._engine

    def open(self) -> int:
        """See ``Rig``."""
        return self._engine.open


class OllamaRig:
    """Ollama's protocol on a socket."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._server = HttpEngine()

    async def engine(self, play: Play, *, patient: bool = True) -> Engine:
        """See ``Rig``."""
        script: list[HttpStep] = []
        for act in play:
            if isinstance(act, Batch):
                script.append(Lines(_lines(act)))
            elif isinstance(act, Waits):
                script.append(Hang())
            else:
                script.append(_failure(act.error, begun=bool(script)))
        self._server = await self._stack.enter_async_context(HttpEngine(script))
        client = build_client(self._server.url, connect_timeout=5)
        self._stack.push_async_callback(client.aclose)
        if play == [Fails(EngineUnavailable)]:
            client = build_client("http://127.0.0.1:9", connect_timeout=5)
            self._stack.push_async_callback(client.aclose)
        return OllamaEngine(client, QuietLimits() if patient else QUIET)

    def open(self) -> int:
        """See ``Rig``."""
        return self._server.open


def _failure(error: type[ChatError], *, begun: bool) -> HttpStep:
    if begun:
        return Cut()
    failures: dict[type[ChatError], HttpStep] = {
        EngineUnavailable: Cut(),
        EngineBusy: Status(503, "server busy"),
        ModelNotFound: Status(404, "model not found"),
        InvalidRequest: Status(400, "does not support tools"),
        ContextLengthExceeded: Status(400, "exceeds the available context size"),
        EngineError: Status(500, "out of memory"),
    }
    return failures[error]


def _lines(batch: Batch) -> list[dict[str, Any]]:
    lines = [_line(part) for part in batch.parts]
    if batch.finish is not None:
        lines.append(_last_line(batch.finish))
    return lines


def _line(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return http_line(part.text)
        case Thinking():
            return http_line(thinking=part.text)
        case Call():
            function = {"name": part.name, "arguments": {"city": "Rome"}}
            return http_line(tool_calls=[{"function": function}])


def _last_line(finish: Finish) -> dict[str, Any]:
    reason = "stop" if finish.reason == "tool_calls" else finish.reason
    return http_line(
        done=True,
        done_reason=reason,
        prompt_eval_count=finish.prompt_tokens,
        eval_count=finish.completion_tokens,
    )
