"""Server-sent events as bytes. A plain OpenAI stream has only ``data:`` and comment lines.

OpenAI's Python client stumbles over ``id:``, ``event:`` and ``retry:`` lines beside pings
(``api_facts.md`` 4.3), so there are none unless the client asked for ids.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from services.api.ports.queue_news import QueueNews
from services.api.streams.steps import Missing
from shared.contracts.chat import FinishReason, ToolCall, Usage
from shared.contracts.event_json import event_json
from shared.contracts.ids import CompletionId

DONE: Final = b"data: [DONE]\n\n"
PING: Final = b": ping\n\n"
PING_BESIDE_IDS: Final = b": ping\n"
"""After an ``id:`` line, a blank line would be an event without data to those clients."""
RETRY: Final = b"retry: 500\n"
"""Before an event's data: come back after so many milliseconds."""


def queued_comment(news: QueueNews, *, beside_ids: bool) -> bytes:
    """How somebody who waits stands, for who reads comments; everybody else skips them."""
    body: dict[str, int] = {"position": news.position}
    if news.estimated_wait_ms is not None:
        body["estimated_wait_ms"] = news.estimated_wait_ms
    # As with pings: a blank line after an ``id:`` would be an event without data.
    return b": queued " + orjson.dumps(body) + (b"\n" if beside_ids else b"\n\n")


def event(payload: Mapping[str, Any]) -> bytes:
    """One event with a JSON payload."""
    return b"data: " + event_json(payload) + b"\n\n"


def usage_body(usage: Usage) -> dict[str, Any]:
    """Token counts in both spellings; ``estimated`` only where they are."""
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "promptTokens": usage.prompt_tokens,
        "completionTokens": usage.completion_tokens,
        "totalTokens": usage.total_tokens,
    }
    if usage.estimated:
        body["estimated"] = True
    return body


def run_body(
    attempts: int, continued_at: Sequence[int] | None, omitted: int | None = None
) -> dict[str, Any]:
    """How a completion was run, where not in one go, and what of its session it was not shown."""
    body: dict[str, Any] = {"attempts": attempts} if attempts > 1 else {}
    if continued_at:
        body["continued_at"] = body["continuedAt"] = list(continued_at)
    if omitted:
        body["context_omitted"] = body["contextOmitted"] = omitted
    return body


def tool_call_bodies(calls: Sequence[ToolCall], *, indexed: bool) -> list[dict[str, Any]]:
    """Tool calls as OpenAI has them; in a delta each carries its ``index``."""
    bodies = []
    for index, call in enumerate(calls):
        body: dict[str, Any] = {"index": index} if indexed else {}
        body |= {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        bodies.append(body)
    return bodies


class ChunkEncoder:
    """The chunks that the gateway itself adds to a stream, in the shape of the worker's."""

    def __init__(
        self, completion_id: CompletionId, model: str, created_at: datetime, *, include_usage: bool
    ) -> None:
        self._envelope: dict[str, Any] = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": int(created_at.timestamp()),
            "model": model,
        }
        self._include_usage = include_usage

    def missing(self, missing: Missing) -> bytes:
        """What frames have lost, as one ordinary delta."""
        delta: dict[str, Any] = {}
        if missing.opening:
            delta["role"] = "assistant"
        if missing.text or (missing.opening and not missing.tool_calls):
            delta["content"] = missing.text
        if missing.thinking:
            delta["reasoning_content"] = missing.thinking
        if missing.tool_calls:
            delta["tool_calls"] = tool_call_bodies(missing.tool_calls, indexed=True)
        return self._chunk(delta, None)

    def end(
        self,
        finish_reason: FinishReason,
        usage: Usage | None,
        run: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Finish chunk, usage and ``[DONE]``; ``run`` (``run_body``) goes into the finish chunk.

        Usage stands in the finish chunk, or in a chunk of its own for a client that asked for
        that: clients that add up what they see must not find it twice.
        """
        counted = usage_body(usage) if usage is not None else None
        if not self._include_usage:
            extra = {**(run or {}), **({"usage": counted} if counted else {})}
            return self._chunk({}, finish_reason, extra) + DONE
        last = event({**self._envelope, "choices": [], "usage": counted}) if counted else b""
        return self._chunk({}, finish_reason, run) + last + DONE

    def _chunk(
        self,
        delta: Mapping[str, Any],
        finish_reason: FinishReason | None,
        extra: Mapping[str, Any] | None = None,
    ) -> bytes:
        choice = {
            "index": 0,
            "delta": delta,
            "finish_reason": finish_reason,
            "finishReason": finish_reason,
        }
        usage = {"usage": None} if self._include_usage else {}
        return event({**self._envelope, "choices": [choice], **usage, **(extra or {})})


def error_event(body: Mapping[str, Any]) -> bytes:
    """A failure inside a stream, and its end: both OpenAI SDKs take a cut for success."""
    return event(body) + DONE
