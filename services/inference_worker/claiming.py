"""Whose a pulled request is: ended already, begun elsewhere, or this worker's to go on with."""

from dataclasses import replace

import structlog

from services.inference_worker.ending import later_attempt
from services.inference_worker.ports import Control, Job, Ledger
from services.inference_worker.takeover import FIRST, Claim, Past
from shared.contracts.completions import RunCompletion
from shared.contracts.frames import Frame, FrameKind

log = structlog.stdlib.get_logger(__name__)


async def call_off_predecessor(control: Control, job: Job, run: RunCompletion) -> None:
    """Make a worker that had the request before stop, if it still lives.

    Before anything of it is read, and before this worker can be asked itself: a predecessor that
    is only slow falls silent, so that nobody is sent what its successor does not know of.

    Raises:
        BrokerUnavailable: the broker is away.
    """
    if job.deliveries > 1:
        await control.call_off(run.completion_id)


async def claim(
    ledger: Ledger, job: Job, run: RunCompletion, *, lapsed: bool = False
) -> Claim | None:
    """Take the request on; ``None`` if another worker has begun it and keeps it.

    Args:
        ledger: What was sent before.
        job: The request as it was delivered.
        run: What it says.
        lapsed: Another worker may have been given it meanwhile, or says that it was.

    Raises:
        BrokerUnavailable: the broker is away.
    """
    if job.deliveries > 1:
        if lapsed:
            # A mark of ours would take it from that one. If there is none, it comes again.
            log.warning("request_left_to_others")
            return None
        return await _take_over(ledger, job, run)
    if await later_attempt(ledger, run.completion_id, 0):
        # Begun elsewhere, though this is the first delivery: the queue was made anew, or the
        # request lay in the socket while this process stood still. Who has begun it keeps it
        # by heartbeats; if that one is gone, it comes again after the ack wait.
        log.warning("request_already_begun")
        return None
    return FIRST


async def _take_over(ledger: Ledger, job: Job, run: RunCompletion) -> Claim | None:
    past, last = Past(), 0
    async for sequence, frame in ledger.frames(run.completion_id, 0):
        past.add(frame)
        last = sequence
    # The broker may have lost what was sent, or only the newest of it, or has yet to get it from a
    # worker that stands still: no other delivery has this number, so readers can always tell.
    attempt = max(past.attempt + 1, job.deliveries)
    if not last:
        # As a rule it was only given back unseen, by a worker without a free slot.
        return Claim(attempt)
    mark = Frame(FrameKind.TAKEOVER, attempt, past.next_index, 0, past.tokens, 0, 0, b"")
    marked = await ledger.take_over(run.reply_subject, mark)
    # What the predecessor got through before the mark counts; what it sends later does not.
    async for _, frame in ledger.frames(run.completion_id, last, marked - 1):
        past.add(frame)
    if past.attempt >= attempt:
        log.warning("request_taken_over_elsewhere")
        return None
    claimed = replace(past.claim(attempt), spent=await ledger.spent(run.reply_subject))
    log.info("completion_taken_over", attempt=claimed.attempt, events=past.next_index)
    return claimed


async def hand_on(
    ledger: Ledger, job: Job, run: RunCompletion, attempt: int, *, lapsed: bool, delay: float
) -> None:
    """Give it back, unless another worker has it: the broker would take it from that one.

    Raises:
        BrokerUnavailable: the broker is away.
    """
    if lapsed and await later_attempt(ledger, run.completion_id, attempt):
        return
    await job.give_back(delay=delay)
