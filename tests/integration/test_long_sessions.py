"""A session that is more than the broker carries at once goes out of a gateway, and comes in."""

import random
import string

import httpx
import pytest

from shared.contracts.ids import SessionId
from tests.fakes.api.gateway import RunningGateway

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("history")]

API = "/ai-chat/api/sessions/"
COUNT = 4_000
LENGTH = 2_200
"""Characters of a message."""


def _texts() -> list[str]:
    dice = random.Random(1)
    letters = string.ascii_lowercase
    words = ["".join(dice.choices(letters, k=dice.randint(2, 9))) for _ in range(300)]
    return [" ".join(dice.choices(words, k=LENGTH // 6))[:LENGTH] for _ in range(COUNT)]


async def _brought_in(http: httpx.AsyncClient, file: bytes) -> SessionId:
    while True:
        made = await http.post(f"{API}import/", content=file)
        if made.status_code != 503:
            assert made.status_code == 201, made.text
            return SessionId(made.json()["id"])


@pytest.mark.slow
async def test_a_session_of_more_than_the_broker_carries_goes_round(
    gateway: RunningGateway,
) -> None:
    texts = _texts()
    http = gateway.http
    http.timeout = httpx.Timeout(110)
    messages = [
        {
            "id": f"m{n}",
            "role": ("user", "assistant")[n % 2],
            "content": text,
            "createdAt": "2026-01-01T00:00:00Z",
            "parentId": f"m{n - 1}" if n else None,
        }
        for n, text in enumerate(texts)
    ]
    file = httpx.Request(
        "POST", "http://x", json={"format": "parley-session", "messages": messages}
    )
    first = await _brought_in(http, file.content)
    exported = await http.get(f"{API}{first}/export/")
    assert "x-importable" not in exported.headers
    assert len(exported.content) > 8 * 2**20

    second = await _brought_in(http, exported.content)

    again = (await http.get(f"{API}{second}/export/")).json()["messages"]
    assert [message["content"] for message in again] == texts
