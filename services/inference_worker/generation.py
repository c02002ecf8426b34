"""Drive the engine once, or twice where the first try failed before its first word."""

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Final

import structlog

from services.inference_worker.answer import Answer
from services.inference_worker.ports import Engine, Finish
from shared.contracts.completions import RunCompletion
from shared.errors import EngineError

_TRIES: Final = 2

log = structlog.stdlib.get_logger(__name__)


class Generation:
    """From a request to the last word of the engine, with everything sent that came before."""

    def __init__(
        self,
        engine: Engine,
        *,
        retry_after: timedelta = timedelta(milliseconds=250),
        coalesce: timedelta = timedelta(0),
    ) -> None:
        """Describe how to treat the engine.

        Args:
            engine: Who generates.
            retry_after: Between a try that failed before its first word and the second.
            coalesce: How long to collect before each frame but the first; 0 sends at once what
                one read of the engine held.
        """
        self._engine = engine
        self._retry_after = retry_after.total_seconds()
        self._coalesce = coalesce.total_seconds()

    async def run(self, run: RunCompletion, answer: Answer) -> Finish:
        """Generate and send; gives how the engine ended. Cancelling this stops the engine.

        Raises:
            ChatError: what the engine raised; ``answer`` holds what was sent before.
        """
        for left in reversed(range(_TRIES)):
            try:
                return await self._once(run, answer)
            except EngineError as error:
                # The reader has seen nothing yet, so a second try is no splice.
                if answer.started or not left:
                    raise
                log.warning("engine_retried", code=error.code, error=error.message)
            await asyncio.sleep(self._retry_after)
        raise AssertionError("unreachable")  # pragma: no cover

    async def _once(self, run: RunCompletion, answer: Answer) -> Finish:
        async with aclosing(self._engine.stream(run)) as batches:
            async for batch in batches:
                if batch.parts:
                    await answer.add(batch.parts)
                if answer.full:
                    # Leaving the loop closes the engine.
                    return Finish("length")
                if batch.finish is not None:
                    await answer.open()
                    return batch.finish
                if self._coalesce and answer.started:
                    await asyncio.sleep(self._coalesce)
        raise EngineError("the engine ended its answer without a last word")
