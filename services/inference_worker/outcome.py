"""How a completion ended, and the ``completed`` event that says so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.inference_worker.ports import Finish
from services.inference_worker.transcript import Said
from shared.contracts.chat import CompletionStatus, Failure, Timings, Usage
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionCompleted
from shared.contracts.token_estimates import (
    CHARACTERS,
    call_at_most,
    prompt_at_most,
    unseen_at_most,
)
from shared.errors import (
    ChatError,
    EngineBusy,
    EngineUnavailable,
    InvalidRequest,
    ModelNotFound,
)

_NEVER_RAN = (EngineBusy, EngineUnavailable, InvalidRequest, ModelNotFound)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a completion, before it is written down."""

    status: CompletionStatus
    finish: Finish | None = None
    """The engine's last word, where it came to it."""
    error: Failure | None = None
    engine_ran: bool = True
    """Whether an engine worked on it: then there is a usage, if only an estimated one."""


def finished(finish: Finish) -> Outcome:
    """The engine came to its end."""
    return Outcome(CompletionStatus.COMPLETED, finish=finish)


def failed(error: ChatError) -> Outcome:
    """It ends with an error; what was sent before stays part of the answer."""
    return Outcome(
        CompletionStatus.FAILED,
        error=Failure(code=error.code, message=error.message, param=error.param),
        engine_ran=not isinstance(error, _NEVER_RAN),
    )


def cancelled(*, engine_ran: bool) -> Outcome:
    """Somebody stopped it."""
    return Outcome(CompletionStatus.CANCELLED, engine_ran=engine_ran)


def completed_event(
    run: RunCompletion,
    outcome: Outcome,
    said: Said,
    *,
    attempt: int,
    attempts: int,
    continued_at: Sequence[int] = (),
    omitted: int | None = None,
    timings: Timings,
    now: Callable[[], datetime],
) -> CompletionCompleted:
    """The truth about a completion, as history and every gateway will read it.

    Args:
        run: What was asked for.
        outcome: How it ended.
        said: The answer.
        attempt: What marks the frames of the attempt that ended it.
        attempts: How many attempts there were.
        continued_at: Where earlier ones were gone on from.
        omitted: How many messages of its session the model was not shown.
        timings: How long it took.
        now: The time.
    """
    return CompletionCompleted(
        completion_id=run.completion_id,
        user_id=run.user_id,
        key_id=run.key_id,
        model=run.display_model,
        status=outcome.status,
        created_at=run.created_at,
        completed_at=now(),
        text=said.text,
        thinking=said.thinking,
        tool_calls=list(said.tool_calls),
        finish_reason=outcome.finish.reason if outcome.finish else None,
        usage=_usage(run, outcome, said),
        timings=timings,
        attempts=attempts,
        last_attempt=attempt if attempt != attempts else None,
        continued_at=list(continued_at) or None,
        context_omitted=omitted,
        events=said.events,
        error=outcome.error,
        place=run.place,
    )


def _usage(run: RunCompletion, outcome: Outcome, said: Said) -> Usage | None:
    if not (outcome.engine_ran or said.events):
        return None
    prompt = outcome.finish.prompt_tokens if outcome.finish else None
    completion = outcome.finish.completion_tokens if outcome.finish else None
    estimated = prompt is None or (completion is None and said.events > 0)
    estimated = estimated or bool(outcome.finish and outcome.finish.estimated)
    if prompt is None:
        prompt = prompt_at_most(run.messages, run.tools, run.window)
    if completion is None:
        completion = _said_at_most(said)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        estimated=estimated,
    )


def _said_at_most(said: Said) -> int:
    """Tokens of an answer that the engine did not count: it sends about one at a time.

    Not where they are parts of a character or a call, or were held back as the beginning of a stop
    string.
    """
    text = said.text + said.thinking
    calls = (call.function for call in said.tool_calls)
    return max(said.tokens + unseen_at_most(text), len(text) // CHARACTERS) + sum(
        call_at_most(call.name, call.arguments) for call in calls
    )
