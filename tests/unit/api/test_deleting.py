"""Sessions are deleted as they were seen, and come back once."""

import httpx
import pytest

from services.api.ports.sessions import Held
from shared.contracts.history import DeleteSession, UpdateSession
from shared.contracts.ids import SessionId, UserId
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of

SESSIONS = "/api/chat/sessions/"
USER = UserId("local")


class _Contested(WholeHistory):
    """Somebody gives the session another title just before it is deleted."""

    async def delete_session(self, command: DeleteSession) -> None:
        change = {"user_id": command.user_id, "session_id": command.session_id}
        await self.update_session(UpdateSession(**change, title="Mine"))
        await super().delete_session(command)


def _world(history: WholeHistory | None = None) -> FakeWorld:
    world = FakeWorld()
    world.history = history or WholeHistory()
    return world


async def _new(client: httpx.AsyncClient) -> str:
    made = (await client.post(SESSIONS, json={"title": "Plans"})).json()
    return f"{SESSIONS}{made['id']}/"


def _said(world: FakeWorld) -> list[str]:
    assert isinstance(world.history, WholeHistory)
    return [*world.history.scene.told.types, *(event.type for event in world.live.said)]


async def test_restoring_what_is_not_deleted_changes_nothing_and_nobody_hears_of_it() -> None:
    world = _world(history := WholeHistory())
    async with client_of(world) as client:
        path = await _new(client)
        before = history.scene.store.everything()
        restored = await client.post(f"{path}restore/")
        await world.background.aclose(1)

        assert (restored.status_code, restored.headers["etag"]) == (200, '"1"')
        assert history.scene.store.everything() == before
        assert _said(world) == ["session_created"]


async def test_a_restored_session_is_announced_once() -> None:
    world = _world()
    async with client_of(world) as client:
        path = await _new(client)
        await client.delete(path)
        for _ in range(2):
            assert (await client.post(f"{path}restore/")).status_code == 200
        await world.background.aclose(1)

    assert _said(world) == ["session_created", "session_deleted", "session_created"]


@pytest.mark.parametrize("face", [SESSIONS, "/ai-chat/api/sessions/"])
@pytest.mark.parametrize(
    ("tag", "status"),
    [('"1"', 412), ('"x"', 412), ('"2"', 204), ('W/"2"', 204), ("*", 204), ("", 204)],
)
async def test_a_session_is_deleted_only_in_the_version_that_is_named(
    face: str, tag: str, status: int
) -> None:
    async with client_of(world := _world()) as client:
        path = (await _new(client)).replace(SESSIONS, face)
        await client.patch(path, json={"title": "Others"})
        answer = await client.delete(path, headers={"If-Match": tag})
        there = await client.get(path)

    assert answer.status_code == status
    if status == 204:
        assert there.status_code == 404
        return
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("version_conflict", "If-Match")
    assert (there.status_code, there.headers["etag"][:5]) == (200, 'W/"2-')
    assert "session_deleted" not in _said(world)


async def test_a_change_that_comes_just_before_the_delete_keeps_the_session_and_its_turns() -> None:
    world = _world(_Contested())
    async with client_of(world) as client:
        path = await _new(client)
        answer = await client.delete(path, headers={"If-Match": '"1"'})
        there = await client.get(path)

    assert answer.status_code == 412
    assert (there.status_code, there.headers["etag"][:5]) == (200, 'W/"2-')
    held = await world.turns.get(SessionId(path.removeprefix(SESSIONS).strip("/")))
    assert isinstance(held, Held)
    assert not held.state.deleted
    assert "session_deleted" not in _said(world)


async def test_a_delete_may_be_repeated_with_the_version_that_was_deleted() -> None:
    async with client_of(_world()) as client:
        path = await _new(client)
        answers = [await client.delete(path, headers={"If-Match": '"1"'}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]


async def test_every_answer_with_one_session_has_its_version_as_a_tag() -> None:
    async with client_of(_world()) as client:
        made = await client.post(SESSIONS, json={})
        path = f"{SESSIONS}{made.json()['id']}/"
        file = {
            "format": "parley-session",
            "messages": [
                {"id": "a", "role": "user", "content": "Hi", "createdAt": "2025-01-01T00:00:00Z"}
            ],
        }
        brought = await client.post(f"{SESSIONS}import/", json=file)
        answers = [
            made,
            brought,
            await client.put(path, json={"title": "One"}),
            await client.patch(path, json={"title": "Two"}),
            await client.post(f"{path}restore/"),
            await client.post(f"{SESSIONS}{brought.json()['id']}/fork/"),
        ]

    assert [(answer.is_success, answer.headers.get("etag")) for answer in answers] == [
        (True, f'"{answer.json()["version"]}"') for answer in answers
    ]


async def test_what_a_read_gave_as_a_tag_holds_for_its_version() -> None:
    async with client_of(_world()) as client:
        path = await _new(client)
        read = await client.get(path)
        assert read.headers["etag"].startswith('W/"1-')
        assert (await client.get(path)).headers["etag"] == read.headers["etag"]
        same = {"If-Match": read.headers["etag"]}
        changed = await client.patch(path, json={"title": "Mine"}, headers=same)
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
        again = await client.patch(path, json={"title": "Ours"}, headers=same)
        assert again.status_code == 412


@pytest.mark.parametrize("face", [SESSIONS, "/ai-chat/api/sessions/"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_an_old_version_is_a_conflict_in_a_body_and_a_failed_precondition_in_a_head(
    face: str, method: str
) -> None:
    async with client_of(_world()) as client:
        path = (await _new(client)).replace(SESSIONS, face)
        await client.patch(path, json={"title": "Others"})
        in_body = await client.request(method, path, json={"title": "Mine", "version": 1})
        in_head = await client.request(
            method, path, json={"title": "Mine"}, headers={"If-Match": '"1"'}
        )
        in_both = await client.request(
            method, path, json={"title": "Mine", "version": 1}, headers={"If-Match": '"1"'}
        )
        anything = await client.request(
            method, path, json={"title": "Mine", "version": 1}, headers={"If-Match": "*"}
        )

    answers = [in_body, in_head, in_both, anything]
    assert [answer.status_code for answer in answers] == [409, 412, 412, 409]
    errors = [answer.json()["error"] for answer in answers]
    assert {error["code"] for error in errors} == {"version_conflict"}
    assert [error["param"] for error in errors] == ["version", "If-Match", "If-Match", "version"]
