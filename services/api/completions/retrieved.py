"""A completion that is read back, as the HTTP contract shows it: pure."""

from typing import Any

from services.api.completions.failures import body_of
from services.api.completions.translation import choice_body, failure_of, finish_reason_of
from services.api.streams.sse import run_body, usage_body
from services.api.streams.standing import Standing
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted, CompletionCompleted


def to_standing_body(accepted: CompletionAccepted, standing: Standing) -> dict[str, Any]:
    """OpenAI's envelope with what it lacks: ``status``, and ``error`` where it failed."""
    end = standing.end
    good = end is not None and end.status is CompletionStatus.COMPLETED
    reason = finish_reason_of(end) if end is not None and good else None
    choice = choice_body(standing.text, standing.thinking, standing.tool_calls, reason)
    return {
        "id": accepted.completion_id,
        "object": "chat.completion",
        "created": int(accepted.accepted_at.timestamp()),
        "model": accepted.model,
        "status": standing.status,
        "choices": [choice],
        "usage": usage_body(end.usage) if end is not None and end.usage is not None else None,
        "error": _error(end),
        **run_body(
            standing.attempts,
            end.continued_at if end is not None else None,
            end.context_omitted if end is not None else None,
        ),
    }


def _error(end: CompletionCompleted | None) -> dict[str, Any] | None:
    # Who is cancelled has not failed; ``status`` says it.
    if end is None or end.status is CompletionStatus.CANCELLED:
        return None
    failure = failure_of(end)
    error: dict[str, Any] | None = body_of(failure)["error"] if failure is not None else None
    return error
