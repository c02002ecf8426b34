"""The bytes of an answer's SSE events, made once: the gateway relays them as they are."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import orjson

from shared.contracts.event_json import event_json
from shared.contracts.ids import CompletionId

_DATA: Final = b"data: "
_END: Final = b"\n\n"


class ChunkTemplate:
    """Chunks of one completion: everything but the delta is built once, not per token.

    ``finish_reason`` and ``finishReason`` both stand there because OpenAI's clients read the one
    and the requirements name the other.
    """

    def __init__(
        self, completion_id: CompletionId, created: datetime, model: str, *, include_usage: bool
    ) -> None:
        """Describe the completion.

        Args:
            completion_id: The ``id`` of every chunk.
            created: When the gateway accepted it.
            model: The name that the client used.
            include_usage: Whether chunks say ``usage: null``, as OpenAI's do before a usage chunk.
        """
        self._head = b"".join(
            (
                _DATA,
                b'{"id":',
                event_json(completion_id),
                b',"object":"chat.completion.chunk","created":%d,"model":' % created.timestamp(),
                event_json(model),
                b',"choices":[{"index":0,"delta":{',
            )
        )
        usage = b',"usage":null' if include_usage else b""
        self._tail = b'},"finish_reason":null,"finishReason":null}]' + usage + b"}" + _END
        self._text = self._head + b'"content":'
        self._thinking = self._head + b'"reasoning_content":'

    def role(self) -> bytes:
        """The first event of every answer."""
        return self._head + b'"role":"assistant","content":""' + self._tail

    def text(self, delta: str) -> bytes:
        """A piece of the answer."""
        return self._text + event_json(delta) + self._tail

    def thinking(self, delta: str) -> bytes:
        """A piece of thinking, where clients look for it: OpenAI's schema has no word for it."""
        return self._thinking + event_json(delta) + self._tail

    def call(self, index: int, call_id: str, name: str, arguments: str) -> tuple[bytes, bytes]:
        """A tool call: one event that opens it, one with its arguments.

        Two, because OpenAI's clients expect the identity first and arguments in later pieces.
        """
        opening = {
            "index": index,
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        return self._call(opening), self._call(
            {"index": index, "function": {"arguments": arguments}}
        )

    def _call(self, delta: dict[str, Any]) -> bytes:
        return self._head + b'"tool_calls":' + event_json([delta]) + self._tail


def deltas(body: bytes) -> Iterator[dict[str, Any]]:
    """The deltas in finished SSE events: the way back, for who takes over a half-sent answer."""
    for event in body.split(_END):
        if event.startswith(_DATA):
            yield orjson.loads(event[len(_DATA) :])["choices"][0]["delta"]
