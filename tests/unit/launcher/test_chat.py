"""``parley chat`` against a gateway that exists only as a transport."""

import json
from collections.abc import Callable

import httpx
import pytest

from deploy.local.chat import Question, answer, ask
from deploy.local.errors import GatewayFailed

QUESTION = Question(prompt="hello", url="http://127.0.0.1:8000")


def frames(*chunks: object) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def delta(text: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


DONE = b"data: [DONE]\n\n"


class Gateway:
    """Lists one model and gives the answer it was made with."""

    def __init__(self, reply: Callable[[], httpx.Response]) -> None:
        self._reply = reply
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.asked.append(request)
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "demo"}, {"id": "other"}]})
        return self._reply()


def hear(gateway: Callable[[httpx.Request], httpx.Response], question: Question = QUESTION) -> str:
    shown: list[str] = []
    ask(question, shown.append, transport=httpx.MockTransport(gateway))
    return "".join(shown)


def test_the_first_model_answers_when_none_is_named() -> None:
    gateway = Gateway(
        lambda: httpx.Response(200, content=frames(delta("Hi"), delta(" you", "stop")) + DONE)
    )

    assert hear(gateway) == "Hi you"
    sent = json.loads(gateway.asked[-1].content)
    assert sent["model"] == "demo"
    assert sent["stream"] is True
    assert sent["messages"] == [{"role": "user", "content": "hello"}]


def test_a_named_model_a_system_prompt_and_a_key_are_sent() -> None:
    gateway = Gateway(lambda: httpx.Response(200, content=DONE))
    question = Question(
        prompt="hello", url="http://127.0.0.1:8000", system="Be brief.", model="m", api_key="pk-1"
    )

    hear(gateway, question)

    (request,) = gateway.asked
    sent = json.loads(request.content)
    assert sent["model"] == "m"
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert request.headers["Authorization"] == "Bearer pk-1"


def test_an_error_body_is_shown_as_its_sentence() -> None:
    body = {"error": {"message": "The model is busy.", "type": "t", "param": None, "code": "c"}}

    with pytest.raises(GatewayFailed, match=r"^The model is busy\.$"):
        hear(Gateway(lambda: httpx.Response(429, json=body)))


def test_a_key_that_is_missing_is_said_with_the_variable_that_names_it() -> None:
    body = {"error": {"message": "Send an API key."}}
    with pytest.raises(GatewayFailed, match=r"Send an API key\. PARLEY_API_KEY names it here\."):
        hear(Gateway(lambda: httpx.Response(401, json=body)))


def test_an_error_without_a_body_is_shown_by_its_status() -> None:
    with pytest.raises(GatewayFailed, match="answered 502"):
        hear(Gateway(lambda: httpx.Response(502, content=b"<html>")))


def test_an_error_within_the_stream_fails_after_the_text_so_far() -> None:
    heard: list[str] = []
    stream = frames(delta("Half"), {"error": {"message": "The worker was lost."}}) + DONE

    with pytest.raises(GatewayFailed, match="The worker was lost"):
        heard.extend(answer([stream]))

    # list.extend takes over what was yielded before the error
    assert heard == ["Half"]


def test_a_stream_without_its_end_is_a_failure() -> None:
    with pytest.raises(GatewayFailed, match="broke off"):
        list(answer([frames(delta("Half"))]))


def test_frames_may_be_cut_anywhere_and_comments_are_skipped() -> None:
    stream = b": ping\n\n" + frames(delta("a\u2028b"), delta("c")) + DONE

    assert "".join(answer(bytes([byte]) for byte in stream)) == "a\u2028bc"


def test_a_line_separator_inside_json_does_not_cut_a_frame() -> None:
    raw = 'data: {"choices":[{"delta":{"content":"a\u2028b"}}]}\n\n'.encode()

    assert list(answer([raw, DONE])) == ["a\u2028b"]


def test_text_cannot_steer_the_terminal() -> None:
    assert list(answer([frames(delta("a\x1b[2Jb\r\n\tc")), DONE])) == ["a[2Jb\n\tc"]


def test_nobody_there_is_a_sentence() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(GatewayFailed, match="nothing answers at http://127"):
        hear(refuse)


def test_no_model_is_a_sentence() -> None:
    with pytest.raises(GatewayFailed, match="no worker serves a model"):
        hear(lambda _: httpx.Response(200, json={"data": []}))
