"""Sessions as files over HTTP, from the history service's own use cases."""

from typing import Any

import pytest

from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of

SESSIONS = "/api/chat/sessions/"
IMPORT = f"{SESSIONS}import/"
FILE: dict[str, Any] = {
    "format": "parley-session",
    "title": "Brought in",
    "messages": [{"id": "a", "role": "user", "content": "Hi", "createdAt": "2025-01-01T00:00:00Z"}],
}


def _world() -> FakeWorld:
    world = FakeWorld()
    world.history = WholeHistory()
    return world


@pytest.mark.parametrize(
    ("headers", "sessions"),
    [
        ([{}, {}], 1),
        ([{"Idempotency-Key": "one"}, {"Idempotency-Key": "one"}], 1),
        ([{"Idempotency-Key": "one"}, {"Idempotency-Key": "two"}, {}], 3),
    ],
    ids=["again", "again with its key", "with other keys"],
)
async def test_an_import_that_is_repeated_gives_its_session_and_a_key_makes_another(
    headers: list[dict[str, str]], sessions: int
) -> None:
    async with client_of(_world()) as client:
        made = [await client.post(IMPORT, json=FILE, headers=header) for header in headers]
        listed = (await client.get(SESSIONS)).json()["sessions"]

    replayed = [answer.headers.get("idempotency-replayed") for answer in made]
    if sessions == 1:
        assert [answer.status_code for answer in made] == [201, 200]
        assert replayed == [None, "true"]
    else:
        assert {answer.status_code for answer in made} == {201}
        assert set(replayed) == {None}
    assert len({answer.json()["id"] for answer in made}) == len(listed) == sessions


async def test_an_import_that_was_changed_since_is_given_as_it_is_now() -> None:
    async with client_of(_world()) as client:
        made = await client.post(IMPORT, json=FILE)
        path = f"{SESSIONS}{made.json()['id']}/"
        changed = await client.patch(path, json={"title": "Mine"})
        again = await client.post(IMPORT, json=FILE)

    assert (again.status_code, again.json()) == (200, changed.json())
    assert again.headers["etag"] == changed.headers["etag"] == '"2"'


async def test_another_file_is_another_session() -> None:
    async with client_of(_world()) as client:
        made = [await client.post(IMPORT, json={**FILE, "title": title}) for title in ("A", "B")]

    assert made[0].json()["id"] != made[1].json()["id"]


async def test_a_key_that_is_none_is_refused() -> None:
    async with client_of(_world()) as client:
        answer = await client.post(IMPORT, json=FILE, headers={"Idempotency-Key": " "})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key")
