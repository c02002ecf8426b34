"""``parley models sync`` against a gateway that exists only as a transport."""

from typing import Any

import httpx
import pytest

from deploy.local.errors import GatewayFailed
from deploy.local.model_sync import lines, refuse_failures, sync

URL = "http://127.0.0.1:8000"
NOTHING: dict[str, Any] = {"added": [], "removed": [], "updated": [], "workers": 1, "failed": []}


def answered(reply: httpx.Response, asked: list[httpx.Request] | None = None) -> dict[str, Any]:
    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request)
        return reply

    return sync(URL, "pk-1", transport=httpx.MockTransport(answer))


def test_the_gateway_is_asked_with_the_key_and_its_answer_given_whole() -> None:
    asked: list[httpx.Request] = []
    body = {**NOTHING, "added": ["a"]}

    assert answered(httpx.Response(200, json=body), asked) == body
    (request,) = asked
    assert (request.method, request.url.path) == ("POST", "/api/chat/models/sync_models/")
    assert request.headers["Authorization"] == "Bearer pk-1"


def test_changes_are_one_line_each() -> None:
    body = {**NOTHING, "added": ["a", "b"], "removed": ["c"], "updated": ["d"], "workers": 2}
    assert list(lines(body)) == [
        "added    a",
        "added    b",
        "removed  c",
        "updated  d",
        "2 workers listed.",
    ]
    refuse_failures(body)


def test_no_change_is_said() -> None:
    assert list(lines(NOTHING)) == ["1 worker listed; nothing has changed."]


def test_failed_workers_are_a_failure_with_their_reasons() -> None:
    failed = [{"worker": "w1", "error": "connection\x1b[2J refused"}]
    with pytest.raises(GatewayFailed, match=r"^1 worker could not") as failure:
        refuse_failures({**NOTHING, "failed": failed})
    assert failure.value.details == ("w1: connection[2J refused",)
    assert failure.value.exit_code == 1
    with pytest.raises(GatewayFailed, match=r"^2 workers could not"):
        refuse_failures({**NOTHING, "failed": failed * 2})


def test_no_worker_at_all_is_a_failure() -> None:
    with pytest.raises(GatewayFailed, match="no worker answered"):
        refuse_failures({**NOTHING, "workers": 0})


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (httpx.Response(503, json={"error": {"message": "NATS is away."}}), "^NATS is away"),
        (httpx.Response(502, content=b"<html>"), "answered 502"),
        (httpx.Response(200, content=b"<html>"), "no gateway of Parley"),
        (httpx.Response(200, json={"added": []}), "no gateway of Parley"),
    ],
)
def test_another_answer_is_a_sentence(reply: httpx.Response, says: str) -> None:
    with pytest.raises(GatewayFailed, match=says):
        answered(reply)


def test_nobody_there_is_a_sentence() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(GatewayFailed, match="nothing answers at http://127"):
        sync(URL, None, transport=httpx.MockTransport(refuse))
