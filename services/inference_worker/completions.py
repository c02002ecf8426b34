"""The life of one pulled request, from the first look at it to its one end."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from services.inference_worker.answer import Answer
from services.inference_worker.attempt import Attempt
from services.inference_worker.claiming import call_off_predecessor, claim, hand_on
from services.inference_worker.ending import Ending
from services.inference_worker.generation import Generation
from services.inference_worker.heartbeat import Heartbeat
from services.inference_worker.listener import Listener, Viewers
from services.inference_worker.outcome import Outcome, cancelled, completed_event, failed
from services.inference_worker.ports import Control, Frames, Job, Ledger
from services.inference_worker.sse import ChunkTemplate
from services.inference_worker.stop import StopReason, StopSignal
from services.inference_worker.supervision import HandedOn, supervise
from services.inference_worker.takeover import MAX_ATTEMPTS, Claim
from services.inference_worker.transcript import Said, answer_limit
from shared.contracts.completions import RunCompletion
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
        around = self._around
        patience = run.watch_timeout.total_seconds() if run.watch_timeout else None
        listener = Listener(stop, Viewers(patience))
        heartbeat = Heartbeat(job, around.ledger, run.completion_id, stop, listener)
        attempt = Attempt(job, run, stop, listener, heartbeat)
        try:
            async with heartbeat:
                await call_off_predecessor(around.control, job, run)
                async with around.control.listen(run.completion_id, listener):
                    try:
                        await self._guarded(attempt)
                    finally:
                        listener.quiet()
        except BrokerUnavailable as error:
            # Nothing of it was done yet: the ends themselves wait for the broker.
            log.warning("request_released", error=error.message)
            if not heartbeat.lapsed:
                await job.give_back(delay=_RELEASE_DELAY)

    async def _guarded(self, attempt: Attempt) -> None:
        """A mistake of ours must end the completion: else it would come back for ever."""
        try:
            await self._answer(attempt)
        except BrokerUnavailable:
            raise
        except Exception:
            log.exception("completion_crashed")
            answer = attempt.listener.answer
            said = answer.said() if answer else Said()
            await self._end(attempt, failed(ChatError("The worker failed.")), said)

    async def _take_on(self, attempt: Attempt) -> Claim | None:
        """Whether and from where this worker goes on; ``None`` where nothing is left to do."""
        job, run, stop = attempt.job, attempt.run, attempt.stop
        ended = await self._around.ledger.completed(run.completion_id)
        if ended is not None:
            await self._ending.tell(job, run.reply_subject, ended)
            return None
        lapsed = attempt.heartbeat.lapsed or stop.reason is StopReason.YIELDED
        claimed = await claim(self._around.ledger, job, run, lapsed=lapsed)
        if claimed is None or stop.reason is StopReason.YIELDED:
            return None
        if await self._around.ledger.cancelled(run.completion_id):
            stop.set(StopReason.CANCELLED)
        if stop.reason is None:
            claimed = await self._generation.starting_point(run, claimed)
        return claimed

    async def _answer(self, attempt: Attempt) -> None:
        job, run = attempt.job, attempt.run
        claimed = await self._take_on(attempt)
        if claimed is None:
            return
        attempt.claimed = claimed
        answer = attempt.listener.answer = self._begin(run, claimed)
        outcome = await self._work(attempt, claimed, answer)
        if isinstance(outcome, HandedOn):
            log.info("request_handed_over", events=answer.next_index)
            if outcome.in_order:
                await answer.hand_over()
            if outcome.delay is not None:
                lapsed = attempt.heartbeat.lapsed
                await hand_on(
                    self._around.ledger,
                    job,
                    run,
                    answer.attempt,
                    lapsed=lapsed,
                    delay=outcome.delay,
                )
            return
        if outcome.error is not None and outcome.error.code == ModelNotFound.code:
            self._on_model_missing()
        await self._end(attempt, outcome, answer.said())

    async def _work(self, attempt: Attempt, claimed: Claim, answer: Answer) -> Outcome | HandedOn:
        job, run, stop = attempt.job, attempt.run, attempt.stop
        if stop.reason is StopReason.CANCELLED:
            return cancelled(engine_ran=False)
        if claimed.exhausted:
            return failed(
                WorkerLost(f"The answer failed {MAX_ATTEMPTS} times and is not tried again.")
            )
        if job.deliveries > 1:
            await answer.go_on(claimed.digest)
        # From this frame on, readers and successors know that an engine is asked.
        await answer.heartbeat()
        return await supervise(
            self._generation,
            run,
            answer,
            stop,
            # The deadline is one for all attempts: gateways and the sweeper count on that.
            begun_at=job.pulled_at - claimed.spent,
            last=claimed.last,
        )

    def _begin(self, run: RunCompletion, claimed: Claim) -> Answer:
        template = ChunkTemplate(
            run.completion_id, run.created_at, run.display_model, include_usage=run.include_usage
        )
        answer = Answer(
            self._around.frames,
            run.reply_subject,
            template,
            attempt=claimed.attempt,
            limit=answer_limit(self._around.frames.room),
            begun=claimed.said,
        )
        answer.continued_at.extend(claimed.continued_at)
        answer.omitted = run.omitted
        return answer

    async def _end(self, attempt: Attempt, outcome: Outcome, said: Said) -> None:
        job, run, answer = attempt.job, attempt.run, attempt.listener.answer
        number, timings = attempt.claimed.attempt, attempt.timings()
        event = completed_event(
            run,
            outcome,
            said,
            attempt=number,
            attempts=attempt.claimed.count,
            # A place where it went on, but not to any word, is none.
            continued_at=[at for at in (answer.continued_at if answer else ()) if at < said.events],
            omitted=answer.omitted if answer is not None else run.omitted,
            timings=timings,
            now=self._now,
        )
        told = await self._ending.write(
            job, run.reply_subject, event, lapsed=lambda: attempt.heartbeat.lapsed
        )
        if not told:
            log.warning("completion_lost_to_another_worker", attempt=number)
            return
        log.info(
            "completion_ended",
            status=event.status.value,
            code=event.error.code if event.error else None,
            attempt=number,
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
