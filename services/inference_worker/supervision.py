"""One generation under watch: until its end, a stop, or the deadline, whichever comes first."""

import asyncio
import time
from typing import Final

import structlog

from services.inference_worker.answer import Answer
from services.inference_worker.generation import Generation
from services.inference_worker.outcome import Outcome, cancelled, failed, finished
from services.inference_worker.ports import Finish
from services.inference_worker.stop import StopReason, StopSignal
from shared.contracts.completions import RunCompletion
from shared.errors import ChatError, DeadlineExceeded, ServerShutdown

_CLOSING_TRIES: Final = 5
_CLOSING_WAIT: Final = 1.0

log = structlog.stdlib.get_logger(__name__)


async def supervise(
    generation: Generation, run: RunCompletion, answer: Answer, stop: StopSignal, pulled_at: float
) -> Outcome | None:
    """Generate; gives how it ended, or ``None`` where another worker can do it unnoticed.

    The engine is closed when this returns, however it ends.
    """
    generating = asyncio.create_task(generation.run(run, answer), name="generation")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    left = pulled_at + run.generating_deadline.total_seconds() - time.monotonic()
    try:
        await asyncio.wait(
            {generating, stopping}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
        )
        ended = generating.done()
    finally:
        stopping.cancel()
        await _close(generating)
    return _generated(generating) if ended else _stopped(stop.reason, answer)


async def _close(generating: asyncio.Task[Finish]) -> None:
    # More than once: nats-py swallows a cancellation that meets it while it flushes.
    for _ in range(_CLOSING_TRIES):
        generating.cancel()
        await asyncio.wait({generating}, timeout=_CLOSING_WAIT)
        if generating.done():
            return
    log.error("engine_did_not_close")


def _generated(generating: asyncio.Task[Finish]) -> Outcome:
    try:
        return finished(generating.result())
    except ChatError as error:
        log.warning("generation_failed", code=error.code, error=error.message)
        return failed(error)
    except Exception:
        log.exception("generation_crashed")
        return failed(ChatError("the worker failed in the middle of the answer"))


def _stopped(reason: StopReason | None, answer: Answer) -> Outcome | None:
    if reason is StopReason.CANCELLED:
        return cancelled(engine_ran=True)
    if reason is None:
        return failed(DeadlineExceeded("the answer took longer than it may"))
    if answer.started:
        return failed(ServerShutdown("the worker is shutting down"))
    return None
