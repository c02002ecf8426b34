"""Pages of sessions and messages over HTTP, from the history service's own use cases."""

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest

from shared.contracts import session_questions as asked
from shared.contracts.ids import MessageId, SessionId, UserId
from shared.contracts.questions import Q, Question, R
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of
from tests.fakes.history.conversation import Turn
from tests.unit.history.test_recorder import record

SESSIONS = "/api/chat/sessions/"
LOCAL = UserId("local")
TURNS = 150
LONG_PROMPT = "\N{CJK RADICAL SUN}" * 99_999


class Interrupted(WholeHistory):
    """Something happens in the session before its second page is read."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.pages = 0

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        if question.name in (asked.GET_SESSION.name, asked.READ_TREE.name):
            self.pages += 1
            if self.pages == 2 and self.meanwhile is not None:
                await self.meanwhile()
        return await super().ask(question, query)


async def _session(client: httpx.AsyncClient, **settings: object) -> SessionId:
    made = await client.post(SESSIONS, json=settings)
    assert made.status_code == 201, made.text
    return SessionId(made.json()["id"])


async def _long(history: WholeHistory, session_id: SessionId) -> list[Turn]:
    """Turns on one branch."""
    turns = [Turn(session_id=session_id, user_id=LOCAL)]
    while len(turns) < TURNS:
        turns.append(turns[-1].next())
    await history.scene.say(*turns)
    return turns


def _edit(of: Turn) -> Turn:
    """Another wording of a turn in the middle: its branch becomes the active one."""
    return Turn(
        TURNS + 1,
        parent_id=of.parent_id,
        depth=of.depth,
        text="Or so?",
        session_id=of.session_id,
        user_id=LOCAL,
    )


def _is_a_branch(messages: list[dict[str, Any]]) -> bool:
    return all(two["parentId"] == one["id"] for one, two in pairwise(messages))


async def test_a_session_read_whole_is_of_one_branch_though_another_becomes_active() -> None:
    world, history = FakeWorld(), Interrupted()
    world.history = history
    async with client_of(world) as client:
        session_id = await _session(client)
        turns = await _long(history, session_id)
        edit = _edit(turns[20])

        async def meanwhile() -> None:
            await record(history.scene.store, edit.accepted(), edit.completed())

        history.meanwhile = meanwhile
        whole = (await client.get(f"{SESSIONS}{session_id}/")).json()

    assert history.pages == 2
    assert len(whole["messages"]) == 2 * TURNS
    assert _is_a_branch(whole["messages"])
    assert whole["activeLeaf"] == whole["messages"][-1]["id"] == turns[-1].answer


async def test_of_a_session_read_whole_a_cursor_asks_for_all_beyond_a_thousand() -> None:
    world, history = FakeWorld(), WholeHistory()
    world.history = history
    said = [
        # The newest fill a page before it has two hundred.
        {
            "id": f"m{n}",
            "role": ("user", "assistant")[n % 2],
            "content": "y" * 6000 if n >= 1050 else "x",
            "createdAt": "2026-01-01T00:00:00Z",
            "parentId": f"m{n - 1}" if n else None,
        }
        for n in range(1200)
    ]
    async with client_of(world) as client:
        file = {"format": "parley-session", "messages": said}
        made = await client.post(f"{SESSIONS}import/", json=file)
        path = f"{SESSIONS}{made.json()['id']}/"
        whole = (await client.get(path)).json()
        cursor = {"cursor": whole["nextCursor"], "limit": 500}
        rest = (await client.get(f"{path}messages/", params=cursor)).json()

    assert [it["depth"] for it in whole["messages"]] == list(range(201, 1201))
    assert whole["messagesTruncated"] is True
    assert [it["depth"] for it in rest["messages"]][-1] == 200
    assert _is_a_branch(rest["messages"] + whole["messages"])


async def test_an_export_is_of_one_moment_and_can_be_imported() -> None:
    world, history = FakeWorld(), Interrupted()
    world.history = history
    async with client_of(world) as client:
        session_id = await _session(client)
        turns = await _long(history, session_id)
        edit = _edit(turns[0])

        async def meanwhile() -> None:
            await record(history.scene.store, edit.accepted(), edit.completed())

        history.meanwhile = meanwhile
        exported = await client.get(f"{SESSIONS}{session_id}/export/")
        imported = await client.post(f"{SESSIONS}import/", content=exported.content)

    assert history.pages == 2
    assert exported.json()["activeLeaf"] == turns[-1].answer
    assert imported.status_code == 201, imported.text


@pytest.mark.parametrize("first", [{}, {"limit": 60}])
async def test_cursors_of_messages_stay_on_the_branch_of_their_page(first: dict[str, int]) -> None:
    world, history = FakeWorld(), WholeHistory()
    world.history = history
    async with client_of(world) as client:
        session_id = await _session(client)
        turns = await _long(history, session_id)
        path = f"{SESSIONS}{session_id}/messages/"
        newest = (await client.get(path, params=first)).json()
        edit = _edit(turns[20])
        await record(history.scene.store, edit.accepted(), edit.completed())

        gathered, page = newest["messages"], newest
        while page["nextCursor"] is not None:
            page = (await client.get(path, params={"cursor": page["nextCursor"]})).json()
            gathered = page["messages"] + gathered
        forward = (await client.get(path, params={"cursor": page["previousCursor"]})).json()
        begin = (await client.get(f"{SESSIONS}{session_id}/?limit=5")).json()
        before = (await client.get(path, params={"cursor": begin["nextCursor"]})).json()

    assert [message["depth"] for message in gathered] == list(range(1, 2 * TURNS + 1))
    assert _is_a_branch(gathered)
    assert _is_a_branch(page["messages"] + forward["messages"])
    assert begin["messages"][-1]["id"] == edit.answer
    assert _is_a_branch(before["messages"] + begin["messages"])


async def test_a_cursor_without_a_branch_still_reads_the_active_one() -> None:
    world, history = FakeWorld(), WholeHistory()
    world.history = history
    async with client_of(world) as client:
        session_id = await _session(client)
        turns = await _long(history, session_id)
        path = f"{SESSIONS}{session_id}/messages/"

        older = (await client.get(path, params={"cursor": "before-101", "limit": 2})).json()
        newer = (await client.get(path, params={"cursor": "after-100", "limit": 2})).json()

    assert [message["depth"] for message in older["messages"]] == [99, 100]
    assert [message["id"] for message in newer["messages"]] == [
        turns[50].user_message,
        turns[50].answer,
    ]


@pytest.mark.parametrize(
    "cursor", ["", "before-", "before-x", "sideways-3", "after-3-", "before-1-X"]
)
async def test_a_cursor_that_no_page_has_given_is_refused(cursor: str) -> None:
    world = FakeWorld()
    world.history = WholeHistory()
    async with client_of(world) as client:
        session_id = await _session(client)

        answer = await client.get(f"{SESSIONS}{session_id}/messages/", params={"cursor": cursor})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "cursor"


@pytest.mark.parametrize("search", [None, "plan"])
async def test_a_list_of_sessions_with_large_settings_comes_in_shorter_pages(
    search: str | None,
) -> None:
    world = FakeWorld()
    world.history = WholeHistory()
    async with client_of(world) as client:
        made = [
            await _session(
                client, title=f"Plan {number}", systemPrompt="\N{CJK RADICAL SUN}" * 99_999
            )
            for number in range(8)
        ]
        seen: list[str] = []
        params: dict[str, str] | None = {"search": search} if search is not None else {}
        while params is not None:
            answer = await client.get(SESSIONS, params=params)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            assert page["sessions"]
            seen += [session["id"] for session in page["sessions"]]
            cursor = page["nextCursor"]
            params = {**params, "cursor": cursor} if cursor is not None else None

    assert sorted(seen) == sorted(made)


async def test_a_cursor_beside_another_leaf_is_refused() -> None:
    world, history = FakeWorld(), WholeHistory()
    world.history = history
    async with client_of(world) as client:
        session_id = await _session(client)
        turns = await _long(history, session_id)
        path = f"{SESSIONS}{session_id}/messages/"

        async def read(cursor: MessageId, leaf: MessageId) -> httpx.Response:
            params = {"cursor": f"before-9-{cursor}", "leaf": leaf}
            return await client.get(path, params=params)

        same = await read(turns[9].answer, turns[9].answer)
        other = await read(turns[9].answer, turns[8].answer)

    assert len(same.json()["messages"]) == 8
    assert (other.status_code, other.json()["error"]["param"]) == (400, "cursor")
