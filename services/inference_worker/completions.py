"""The life of one pulled request, from the first look at it to its one end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from services.inference_worker.answer import Answer
from services.inference_worker.ending import Ending, later_attempt
from services.inference_worker.generation import Generation
from services.inference_worker.heartbeat import Heartbeat
from services.inference_worker.outcome import Outcome, cancelled, completed_event, failed
from services.inference_worker.ports import Control, Frames, Job, Ledger
from services.inference_worker.sse import ChunkTemplate
from services.inference_worker.stop import StopReason, StopSignal
from services.inference_worker.supervision import supervise
from services.inference_worker.takeover import Decision, GiveUp, Past, RunAgain, decide
from services.inference_worker.transcript import Said, answer_limit
from shared.contracts.chat import Timings
from shared.contracts.completions import RunCompletion
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable, ChatError, ModelNotFound, WorkerLost

_RELEASE_DELAY: Final = 0.5

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a completion meets on the broker."""

    frames: Frames
    ledger: Ledger
    control: Control


class Completions:
    """Runs what the dispatcher has pulled; knows what runs here."""

    def __init__(
        self,
        generation: Generation,
        around: Surroundings,
        *,
        now: Callable[[], datetime],
        on_model_missing: Callable[[], None],
        ending: Ending | None = None,
    ) -> None:
        """Wire the use case.

        Args:
            generation: Drives the engine.
            around: The broker's side.
            now: The wall clock, for what is written down.
            on_model_missing: Called when the engine says that it does not have a model.
            ending: Writes the ends.
        """
        self._generation = generation
        self._around = around
        self._ending = ending or Ending(around.ledger, around.frames)
        self._now = now
        self._on_model_missing = on_model_missing
        self._running: set[CompletionId] = set()

    async def run(self, job: Job, stop: StopSignal) -> None:
        """Answer one request; returns once it is acknowledged or given back."""
        try:
            run = RunCompletion.from_bytes(job.data)
        except ValidationError as error:
            await self._bury(job, error)
            return
        if run.completion_id in self._running:
            # Delivered again while it runs here: the broker was out of reach for longer than the
            # ack wait. The running one's heartbeats and its acknowledgement are for this delivery.
            return
        self._running.add(run.completion_id)
        try:
            with bound_contextvars(completion_id=run.completion_id, model=run.model):
                await self._own(job, run, stop)
        finally:
            self._running.discard(run.completion_id)

    async def _own(self, job: Job, run: RunCompletion, stop: StopSignal) -> None:
        heartbeat = Heartbeat(job, self._around.ledger, run.completion_id, stop)

        def cancel() -> None:
            stop.set(StopReason.CANCELLED)

        def last_index() -> int:
            return (heartbeat.answer.next_index if heartbeat.answer else 0) - 1

        listening = self._around.control.listen(run.completion_id, cancel, last_index)
        try:
            async with heartbeat, listening:
                await self._guarded(job, run, stop, heartbeat)
        except BrokerUnavailable as error:
            # Nothing of it was done yet: the ends themselves wait for the broker.
            log.warning("request_released", error=error.message)
            await job.give_back(delay=_RELEASE_DELAY)

    async def _guarded(
        self, job: Job, run: RunCompletion, stop: StopSignal, heartbeat: Heartbeat
    ) -> None:
        """A mistake of ours must end the completion: else it would come back for ever."""
        try:
            await self._answer(job, run, stop, heartbeat)
        except BrokerUnavailable:
            raise
        except Exception:
            log.exception("completion_crashed")
            attempt = heartbeat.answer.attempt if heartbeat.answer else 1
            said = heartbeat.answer.said() if heartbeat.answer else Said()
            await self._end(
                job, run, failed(ChatError("the worker failed")), said, attempt, heartbeat
            )

    async def _answer(
        self, job: Job, run: RunCompletion, stop: StopSignal, heartbeat: Heartbeat
    ) -> None:
        ended = await self._around.ledger.completed(run.completion_id)
        if ended is not None:
            await self._ending.tell(job, run.reply_subject, ended)
            return
        if job.deliveries <= 1 and await later_attempt(self._around.ledger, run.completion_id, 0):
            # Begun elsewhere, though this is the first delivery: the queue was made anew, or the
            # request lay in the socket while this process stood still. Who has begun it keeps it
            # by heartbeats; if that one is gone, it comes again after the ack wait.
            log.warning("request_already_begun")
            return
        if await self._around.ledger.cancelled(run.completion_id):
            stop.set(StopReason.CANCELLED)
        decision = await self._decide(job, run)
        answer = heartbeat.answer = self._begin(run, decision)
        said = decision.partial if isinstance(decision, GiveUp) else None
        outcome: Outcome | None
        if stop.reason is StopReason.CANCELLED:
            outcome = cancelled(engine_ran=False)
        elif isinstance(decision, GiveUp):
            outcome = failed(WorkerLost(decision.reason))
        else:
            # From this frame on, readers and successors know that an engine is asked.
            await answer.heartbeat()
            outcome = await supervise(self._generation, run, answer, stop, job.pulled_at)
        if outcome is None:
            log.info("request_handed_over")
            await job.give_back()
            return
        if outcome.error is not None and outcome.error.code == ModelNotFound.code:
            self._on_model_missing()
        said = said or answer.said()
        await self._end(job, run, outcome, said, decision.attempt, heartbeat)

    async def _decide(self, job: Job, run: RunCompletion) -> Decision:
        if job.deliveries <= 1:
            return RunAgain(1)
        past, last = Past(), 0
        async for sequence, frame in self._around.ledger.frames(run.completion_id, 0):
            past.add(frame)
            last = sequence
        if not last:
            # Given back unseen by a worker without a free slot: no attempt was made yet.
            return RunAgain(1)
        mark = Frame(
            FrameKind.TAKEOVER, past.attempt + 1, past.next_index, 0, past.tokens, 0, 0, b""
        )
        marked = await self._around.ledger.take_over(run.reply_subject, mark)
        # What the predecessor got through before the mark counts; what it sends later does not.
        async for _, frame in self._around.ledger.frames(run.completion_id, last, marked - 1):
            past.add(frame)
        log.info("completion_taken_over", attempt=mark.attempt, events=past.next_index)
        return decide(past)

    def _begin(self, run: RunCompletion, decision: Decision) -> Answer:
        template = ChunkTemplate(
            run.completion_id, run.created_at, run.display_model, include_usage=run.include_usage
        )
        return Answer(
            self._around.frames,
            run.reply_subject,
            template,
            attempt=decision.attempt,
            limit=answer_limit(self._around.frames.room),
        )

    async def _end(
        self,
        job: Job,
        run: RunCompletion,
        outcome: Outcome,
        said: Said,
        attempt: int,
        heartbeat: Heartbeat,
    ) -> None:
        timings = _timings(job, heartbeat.answer)
        event = completed_event(
            run, outcome, said, attempts=attempt, timings=timings, now=self._now
        )
        told = await self._ending.write(
            job, run.reply_subject, event, lapsed=lambda: heartbeat.lapsed
        )
        if not told:
            log.warning("completion_lost_to_another_worker", attempt=attempt)
            return
        log.info(
            "completion_ended",
            status=event.status.value,
            code=event.error.code if event.error else None,
            attempt=attempt,
            events=event.events,
            first_token_ms=timings.first_token_ms,
            total_ms=timings.total_ms,
        )

    async def _bury(self, job: Job, error: ValidationError) -> None:
        """A request that no worker can read must not come back for ever."""
        reason = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        log.error("request_malformed", reason=reason)
        try:
            await self._around.ledger.bury(job.data, reason)
        except BrokerUnavailable:
            await job.give_back(delay=_RELEASE_DELAY)
            return
        await job.drop()


def _timings(job: Job, answer: Answer | None) -> Timings:
    first = answer.first_token_at if answer else None
    return Timings(
        first_token_ms=None if first is None else round(1000 * (first - job.pulled_at)),
        total_ms=round(1000 * (time.monotonic() - job.pulled_at)),
    )
