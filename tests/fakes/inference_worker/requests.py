"""Requests as gateways queue them."""

from datetime import UTC, datetime, timedelta

from shared.contracts import subjects
from shared.contracts.chat import Message
from shared.contracts.completions import RunCompletion
from shared.contracts.ids import CompletionId, UserId

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ID = CompletionId("chatcmpl-" + "0" * 31 + "1")


def request(text: str = "Say hello", **changes: object) -> RunCompletion:
    """A request with the usual fields; ``changes`` replace them."""
    completion_id = CompletionId(str(changes.get("completion_id", ID)))
    fields: dict[str, object] = {
        "completion_id": completion_id,
        "reply_subject": subjects.chunks("gw", completion_id),
        "user_id": UserId("ada"),
        "model": "demo:latest",
        "display_model": "demo",
        "created_at": NOON,
        "messages": [Message(role="user", content=text)],
        "generating_deadline": timedelta(minutes=1),
    }
    return RunCompletion.model_validate({**fields, **changes})
