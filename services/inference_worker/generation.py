"""Drive the engine to the end of an answer, over one break-down of the engine if need be."""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Final

import structlog

from services.inference_worker.ability import Ability
from services.inference_worker.answer import Answer
from services.inference_worker.ports import Engine, Finish
from services.inference_worker.seam import (
    Continuation,
    Diverged,
    NoSeam,
    Replay,
    Seam,
    Way,
    continued,
    way_on,
)
from services.inference_worker.shortening import shortened
from services.inference_worker.takeover import Claim
from shared.contracts.completions import RunCompletion
from shared.errors import (
    ChatError,
    ContextLengthExceeded,
    EngineError,
    EngineUnavailable,
    ModelNotFound,
    WorkerLost,
)

_RESTARTING: Final = (1, 2, 4, 4)
"""Pauses, in retry intervals, for an engine that cannot be reached: it may just be restarting."""
_LENGTH: Final = Finish("length")

log = structlog.stdlib.get_logger(__name__)


class HandOver(Exception):
    """The engine failed twice in the middle of an answer; another worker's may do better."""

    def __init__(self, cause: ChatError) -> None:
        super().__init__(cause.message)
        self.cause = cause


class Generation:
    """From a request to the last word of the engine, with everything sent that came before."""

    def __init__(
        self,
        engine: Engine,
        ability: Ability,
        *,
        retry_after: timedelta = timedelta(milliseconds=250),
        coalesce: timedelta = timedelta(0),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Describe how to treat the engine.

        Args:
            engine: Who generates.
            ability: Knows which models can go on from a piece of an answer.
            retry_after: Between a try that failed and the second; an engine that cannot be reached
                is tried again for some ten times as long.
            coalesce: How long to collect before each frame but the first; 0 sends at once what
                one read of the engine held.
            jitter: Random numbers between 0 and 1, so that workers do not all come back at once.
        """
        self._engine = engine
        self._ability = ability
        self._retry_after = retry_after.total_seconds()
        self._coalesce = coalesce.total_seconds()
        self._jitter = jitter

    async def starting_point(self, run: RunCompletion, claimed: Claim) -> Claim:
        """Where an attempt begins: anew where nobody has seen what was sent and it cannot go on."""
        if not run.whole or claimed.exhausted:
            return claimed
        way = way_on(run, claimed.said)
        try:
            able = way is not Way.CONTINUE or await self._ability.continues(run.model)
        except ChatError as error:
            # The engine cannot be asked: what comes next meets it again, and knows what to do.
            log.warning("ability_not_known", code=error.code)
            return claimed
        return claimed if able and way is not Way.NONE else claimed.anew()

    async def run(self, run: RunCompletion, answer: Answer) -> Finish:
        """Generate and send, from where ``answer`` stands; cancelling this stops the engine.

        Raises:
            HandOver: the engine failed and another one may be able to go on.
            WorkerLost: what was sent cannot be continued.
            ChatError: what the engine raised; ``answer`` holds what was sent before.
        """
        pauses = iter(_RESTARTING)
        failure: ChatError | None = None
        while True:
            try:
                return await self._once(run, answer)
            except ContextLengthExceeded:
                shorter = shortened(run)
                if shorter is None:
                    raise
                run = shorter
                answer.omitted = run.omitted
                log.info("context_shortened", omitted=run.omitted)
                continue
            except WorkerLost as error:
                # Seen from here, it is the engine that was lost.
                raise failure or error from error
            except (EngineError, ModelNotFound) as error:
                pause = next(pauses, None)
                if pause is None or not _worth_a_try(error, failure, run, answer):
                    raise _last(error, run, answer) from error
                failure = error
                log.warning("engine_retried", code=error.code)
            await asyncio.sleep(pause * self._retry_after * (0.75 + self._jitter() / 2))
            if answer.started:
                await answer.go_on()

    async def _once(self, run: RunCompletion, answer: Answer) -> Finish:
        way = _way(run, answer)
        if way is Way.NONE or (
            way is Way.CONTINUE and not await self._ability.continues(run.model)
        ):
            raise WorkerLost("The answer broke off, and this kind of answer cannot be continued.")
        request: RunCompletion | None = run
        seam: Seam = NoSeam()
        if way is Way.REPLAY:
            seam = Replay(answer.said())
        elif way is Way.CONTINUE:
            seam = Continuation(answer.said(), run.sampling.stop)
            request = continued(run, answer.said())
        if request is None:
            return _LENGTH
        try:
            return await self._stream(request, answer, seam)
        except Diverged as error:
            raise WorkerLost("The engine says something else than what was sent before.") from error
        except ContextLengthExceeded:
            if way is not Way.CONTINUE or run.droppable:
                raise
            # Prompt and answer have filled the window, where the engine would have ended it too.
            return _LENGTH

    async def _stream(self, run: RunCompletion, answer: Answer, seam: Seam) -> Finish:
        async with aclosing(self._engine.stream(run)) as batches:
            async for batch in batches:
                parts = seam.take(batch.parts) if batch.parts else ()
                finish = batch.finish
                if finish is not None:
                    held, finish = seam.end(finish)
                    parts = (*parts, *held)
                if parts:
                    await answer.add(parts)
                if answer.full:
                    # Leaving the loop closes the engine.
                    return _LENGTH
                if seam.stopped:
                    return Finish("stop")
                if finish is not None:
                    await answer.open()
                    return finish
                if self._coalesce and answer.started:
                    await asyncio.sleep(self._coalesce)
        raise EngineError("The engine ended its answer without a last word.")


def _way(run: RunCompletion, answer: Answer) -> Way:
    return way_on(run, answer.said()) if answer.started else Way.AGAIN


def _worth_a_try(
    error: ChatError, before: ChatError | None, run: RunCompletion, answer: Answer
) -> bool:
    if isinstance(error, ModelNotFound) or (answer.started and _way(run, answer) is Way.NONE):
        return False
    return (
        isinstance(error, EngineUnavailable) or before is None or type(before) is EngineUnavailable
    )


def _last(error: ChatError, run: RunCompletion, answer: Answer) -> Exception:
    """What a failure means that this worker does not get over."""
    if answer.started and (run.whole or _way(run, answer) is not Way.NONE):
        return HandOver(error)
    return error
