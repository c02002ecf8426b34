"""No text of a model, a tool or an error makes an event of its own, or one that is not JSON."""

import itertools
import json
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from services.api.completions.failures import body_of
from services.api.ports.queue_news import QueueNews
from services.api.spelling import AS_IT_IS
from services.api.streams.numbering import Numbering
from services.api.streams.sse import PING_BESIDE_IDS, ChunkEncoder, error_event, queued_comment
from services.api.streams.steps import Missing
from services.inference_worker.sse import ChunkTemplate, deltas
from shared.contracts.chat import FunctionCall, ToolCall, Usage
from shared.contracts.ids import CompletionId
from shared.errors import InvalidRequest

WHEN: Final = datetime(2026, 1, 1, tzinfo=UTC)
ID: Final = CompletionId("chatcmpl-" + "0" * 32)
BREAKS: Final = "\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\0:"
TEXT: Final = st.text(st.sampled_from(BREAKS) | st.characters(), max_size=30) | st.sampled_from(
    ["\n\ndata: [DONE]\n\n", "\r\rid: 1\r\r", "data: {}\r\n\r\n", ": ping", "\ufeffdata:", "[DONE]"]
)
FAST: Final = settings(max_examples=150, derandomize=True, deadline=None, database=None)


def events(stream: bytes) -> list[dict[str, Any] | str]:
    """As a client reads it that follows the standard: CR, LF and CRLF all end a line."""
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    found: list[dict[str, Any] | str] = []
    data: list[bytes] = []
    for line in lines:
        if not line and data:
            text = b"\n".join(data).decode()
            found.append(text if text == "[DONE]" else json.loads(text))
            data = []
        elif line.startswith(b"data: "):
            data.append(line[6:])
        else:
            assert not line or line.startswith(b": "), line
    assert data == []
    # ``httpx.Response.iter_lines`` splits at whatever Python calls a line.
    assert len(stream.decode().splitlines()) == stream.count(b"\n")
    return found


def delta_of(event: dict[str, Any] | str) -> Any:  # noqa: ANN401 - any JSON
    assert isinstance(event, dict)
    return event["choices"][0]["delta"]


@FAST
@given(text=TEXT, thinking=TEXT, model=TEXT)
def test_what_a_model_says_is_one_event(text: str, thinking: str, model: str) -> None:
    template = ChunkTemplate(ID, WHEN, model, include_usage=True)
    stream = template.role() + template.text(text) + template.thinking(thinking)
    role, said, thought = events(stream)
    assert delta_of(role) == {"role": "assistant", "content": ""}
    assert delta_of(said) == {"content": text}
    assert delta_of(thought) == {"reasoning_content": thinking}
    assert list(deltas(stream)) == [delta_of(event) for event in (role, said, thought)]
    assert {event["model"] for event in (role, said, thought) if isinstance(event, dict)} == {model}


@FAST
@given(name=TEXT, arguments=TEXT, call_id=TEXT)
def test_a_tool_call_is_two_events(name: str, arguments: str, call_id: str) -> None:
    template = ChunkTemplate(ID, WHEN, "demo", include_usage=False)
    opening, rest = events(b"".join(template.call(0, call_id, name, arguments)))
    (call,) = delta_of(opening)["tool_calls"]
    assert (call["id"], call["function"]["name"]) == (call_id, name)
    assert delta_of(rest)["tool_calls"][0]["function"]["arguments"] == arguments


@FAST
@given(text=TEXT, thinking=TEXT, model=TEXT)
def test_what_the_gateway_mends_is_one_event(text: str, thinking: str, model: str) -> None:
    encoder = ChunkEncoder(ID, model, WHEN, include_usage=True)
    call = ToolCall(id=text, function=FunctionCall(name=text, arguments=thinking))
    missing = Missing(opening=True, text=text, thinking=thinking, tool_calls=[call])
    (mended,) = events(encoder.missing(missing))
    assert delta_of(mended).get("content", "") == text
    usage = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
    *chunks, done = events(encoder.end("stop", usage))
    assert done == "[DONE]"
    assert [isinstance(chunk, dict) for chunk in chunks] == [True, True]


@FAST
@given(message=TEXT, param=TEXT)
def test_an_error_is_one_event_and_the_end(message: str, param: str) -> None:
    body = body_of(InvalidRequest(message, param=param), AS_IT_IS)
    error, done = events(error_event(body))
    assert error == body
    assert done == "[DONE]"


@FAST
@given(
    texts=st.lists(TEXT, min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 3), min_size=6, max_size=6),
    after=st.integers(-1, 6),
    cuts=st.lists(st.floats(0, 1), max_size=6),
)
def test_another_reader_gets_each_text_once_with_its_id_however_the_bytes_come(
    texts: list[str], sizes: list[int], after: int, cuts: list[float]
) -> None:
    template = ChunkTemplate(ID, WHEN, "demo", include_usage=False)
    numbering, stream, first = Numbering(ID, after), b"", 0
    for size in sizes:
        some = texts[first : first + size]
        body = b"".join(template.text(text) for text in some)
        stream += numbering.dress(body, first, first + len(some)) + PING_BESIDE_IDS
        first += len(some)
    stream += numbering.end(first) + ChunkEncoder(ID, "demo", WHEN, include_usage=False).end(
        "stop", None
    )
    places = [0, *sorted(round(cut * len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    # OpenAI's own: it shares nothing with what made the bytes.
    *said, finish, done = SSEDecoder().iter_bytes(iter(pieces))
    assert done.data == "[DONE]"
    assert {each.event for each in (*said, finish, done)} == {None}
    assert [delta_of(each.json())["content"] for each in said] == texts[after + 1 :]
    assert [each.id for each in said] == [f"{ID}:{at}" for at in range(after + 1, len(texts))]
    assert finish.id == f"{ID}:{len(texts)}"


def test_comments_hold_numbers_only() -> None:
    assert events(queued_comment(QueueNews(3, 12000), beside_ids=False)) == []
