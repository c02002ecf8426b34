"""What a snapshot frame says: everything of an answer so far."""

from typing import NamedTuple

import orjson


class Snapshot(NamedTuple):
    """Text and thinking so far."""

    text: str
    thinking: str


def read_snapshot(body: bytes) -> Snapshot | None:
    """The snapshot, or ``None`` where it holds tool calls or is none at all.

    Which parts of its tool calls a reader has got already cannot be told.
    """
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(whole, dict) or whole.get("tool_calls"):
        return None
    return Snapshot(str(whole.get("text") or ""), str(whole.get("thinking") or ""))
