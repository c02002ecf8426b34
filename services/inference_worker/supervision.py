"""One generation under watch: until its end, a stop, or the deadline, whichever comes first."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import structlog

from services.inference_worker.answer import Answer
from services.inference_worker.generation import Generation, HandOver
from services.inference_worker.outcome import Outcome, cancelled, failed, finished
from services.inference_worker.ports import Finish
from services.inference_worker.seam import Way, way_on
from services.inference_worker.stop import StopReason, StopSignal
from shared.contracts.completions import RunCompletion
from shared.errors import ChatError, DeadlineExceeded, ServerShutdown

_ENGINE_PAUSE: Final = 1.0
"""Seconds until the next worker: its engine may be the same one, and be starting again."""
_CLOSING_TRIES: Final = 5
_CLOSING_WAIT: Final = 1.0

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HandedOn:
    """Somebody else goes on with it."""

    delay: float | None
    """Seconds until then; ``None`` where the successor is at it already."""
    in_order: bool = False
    """Whether this worker only stops, and its attempt has not failed."""


async def supervise(
    generation: Generation,
    run: RunCompletion,
    answer: Answer,
    stop: StopSignal,
    *,
    begun_at: float,
    last: bool,
) -> Outcome | HandedOn:
    """Generate; gives how it ended, or that another worker is to go on (unless it is the last).

    The engine is closed when this returns, however it ends.
    """
    generating = asyncio.create_task(generation.run(run, answer), name="generation")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    left = begun_at + run.generating_deadline.total_seconds() - time.monotonic()
    try:
        await asyncio.wait(
            {generating, stopping}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
        )
        ended = generating.done()
    finally:
        stopping.cancel()
        await _close(generating)
    if ended:
        return _generated(generating, last=last)
    return _stopped(stop.reason, run, answer)


async def _close(generating: asyncio.Task[Finish]) -> None:
    # More than once: nats-py swallows a cancellation that meets it while it flushes.
    for _ in range(_CLOSING_TRIES):
        generating.cancel()
        await asyncio.wait({generating}, timeout=_CLOSING_WAIT)
        if generating.done():
            return
    log.error("engine_did_not_close")


def _generated(generating: asyncio.Task[Finish], *, last: bool) -> Outcome | HandedOn:
    try:
        return finished(generating.result())
    except HandOver as handed:
        if last:
            return failed(handed.cause)
        log.warning("engine_given_up", code=handed.cause.code)
        return HandedOn(_ENGINE_PAUSE)
    except ChatError as error:
        # Not its message: an engine quotes in it what it was asked, or has said.
        log.warning("generation_failed", code=error.code)
        return failed(error)
    except Exception:
        log.exception("generation_crashed")
        return failed(ChatError("The worker failed in the middle of the answer."))


def _stopped(reason: StopReason | None, run: RunCompletion, answer: Answer) -> Outcome | HandedOn:
    if reason is StopReason.CANCELLED:
        return cancelled(engine_ran=True)
    if reason is None:
        return failed(DeadlineExceeded("The answer took longer than it may."))
    if reason is StopReason.YIELDED:
        return HandedOn(None)
    if answer.started and not run.whole and way_on(run, answer.said()) is Way.NONE:
        return failed(ServerShutdown("The worker is shutting down."))
    return HandedOn(0.0, in_order=True)
