"""The bytes of SSE events, byte for byte."""

from services.inference_worker.sse import ChunkTemplate, deltas
from tests.fakes.inference_worker.requests import ID, NOON

PLAIN = ChunkTemplate(ID, NOON, "demo", include_usage=False)
START = (
    b'data: {"id":"chatcmpl-00000000000000000000000000000001","object":"chat.completion.chunk",'
    b'"created":1795176000,"model":"demo","choices":[{"index":0,"delta":{'
)
STOP = b'},"finish_reason":null,"finishReason":null}]}\n\n'


def test_the_first_event_says_who_speaks() -> None:
    assert PLAIN.role() == START + b'"role":"assistant","content":""' + STOP


def test_a_text_delta_is_one_event_on_one_line() -> None:
    expected = START + '"content":"a \\"b\\"\\nc é\\u0000"'.encode() + STOP
    assert PLAIN.text('a "b"\nc é\0') == expected


def test_thinking_goes_where_clients_look_for_it() -> None:
    assert PLAIN.thinking("hm") == START + b'"reasoning_content":"hm"' + STOP


def test_a_tool_call_is_opened_by_its_identity_and_followed_by_its_arguments() -> None:
    opening, arguments = PLAIN.call(0, "call_1", "weather", '{"city":"Rome"}')

    assert opening == (
        START + b'"tool_calls":[{"index":0,"id":"call_1","type":"function",'
        b'"function":{"name":"weather","arguments":""}}]' + STOP
    )
    assert arguments == (
        START + b'"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":\\"Rome\\"}"}}]'
        b"" + STOP
    )


def test_where_usage_was_asked_for_every_chunk_says_that_it_is_still_to_come() -> None:
    template = ChunkTemplate(ID, NOON, "demo", include_usage=True)
    assert template.text("x").endswith(b'"finishReason":null}],"usage":null}\n\n')


def test_a_model_name_is_escaped_like_any_text() -> None:
    template = ChunkTemplate(ID, NOON, 'a"b', include_usage=False)
    assert b'"model":"a\\"b"' in template.text("x")


def test_events_can_be_read_back() -> None:
    body = PLAIN.role() + PLAIN.text("data: \n\n x") + PLAIN.thinking("hm")
    assert list(deltas(body)) == [
        {"role": "assistant", "content": ""},
        {"content": "data: \n\n x"},
        {"reasoning_content": "hm"},
    ]
