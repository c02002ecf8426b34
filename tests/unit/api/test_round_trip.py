"""What is exported and imported again is the same, but for its ids."""

import json
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from services.history.places import Leaf
from services.history.records import MessageRecord, SessionRecord, text_size
from shared.contracts.chat import (
    CompletionStatus,
    ContentPart,
    FunctionCall,
    Message,
    ToolCall,
    Usage,
)
from shared.contracts.ids import (
    MessageId,
    SessionId,
    UserId,
    copied_message_id,
    new_completion_id,
)
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of
from tests.fakes.history.records import T0

SESSIONS = "/api/chat/sessions/"
USER, SESSION = UserId("local"), SessionId("00000000-0000-7000-8000-000000000001")
IMAGE = ContentPart(type="image_url", image_url="data:image/png;base64,iVBORw0KGgo=")

_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_parts = st.lists(
    st.one_of(_texts.map(lambda text: ContentPart(type="text", text=text)), st.just(IMAGE)),
    min_size=1,
    max_size=3,
)
_calls = st.builds(
    ToolCall,
    id=st.sampled_from(["call_1", "call_2"]),
    function=st.builds(FunctionCall, name=st.just("weather"), arguments=st.just('{"city": "Ulm"}')),
)
_counts = st.integers(0, 2**31)
_said = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "developer"]), "content": _texts | _parts}
    ),
    st.fixed_dictionaries(
        {"role": st.just("tool"), "content": _texts, "tool_call_id": st.just("call_1")}
    ),
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "content": st.none() | _texts,
            "tool_calls": st.lists(_calls, min_size=1, max_size=2),
            "status": st.just(CompletionStatus.COMPLETED),
            "finish_reason": st.just("tool_calls"),
            "completion_id": st.builds(new_completion_id),
        }
    ),
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "content": _texts,
            "status": st.sampled_from(
                [it for it in CompletionStatus if it is not CompletionStatus.REJECTED]
            ),
            "finish_reason": st.sampled_from([None, "stop", "length", "content_filter"]),
            "model": st.sampled_from([None, "demo:latest"]),
            "thinking": st.none() | _texts.filter(bool),
            "usage": st.none()
            | st.builds(
                Usage,
                prompt_tokens=_counts,
                completion_tokens=_counts,
                total_tokens=_counts,
                estimated=st.booleans(),
            ),
            "attempts": st.none() | st.integers(2, 3),
            "continued_at": st.none() | st.lists(_counts, min_size=1, max_size=2),
            "context_omitted": st.none() | _counts,
        }
    ),
)


@st.composite
def _trees(draw: st.DrawFn) -> list[MessageRecord]:
    """Messages in the order in which they were said, each on any branch."""
    said: list[MessageRecord] = []
    for number, fields in enumerate(draw(st.lists(_said, min_size=1, max_size=8)), 1):
        parent = draw(st.sampled_from([None, *said]))
        size = text_size(Message(role="user", content=fields["content"]))
        made = MessageRecord(
            **fields,
            id=MessageId(f"00000000-0000-5000-8000-{number:012d}"),
            session_id=SESSION,
            user_id=USER,
            turn=number,
            depth=parent.depth + 1 if parent is not None else 1,
            parent_id=parent.id if parent is not None else None,
            created_at=T0 + number * 1001,
            size=size,
        )
        said.append(made)
    return said


async def _export(client: httpx.AsyncClient, session: str) -> dict[str, Any]:
    answer = await client.get(f"{SESSIONS}{session}/export/")
    assert answer.status_code == 200
    exported: dict[str, Any] = json.loads(answer.content)
    return exported


def _as_of(exported: dict[str, Any], session: SessionId) -> dict[str, Any]:
    """The export with the ids that its import gives; an import is of no completion."""

    def copied(key: str | None) -> str | None:
        return copied_message_id(session, MessageId(key)) if key is not None else None

    messages = {}
    for message in exported["messages"]:
        its = {**message, "id": copied(message["id"]), "parentId": copied(message.get("parentId"))}
        its.pop("completionId", None)
        if "siblingIds" in its:
            its["siblingIds"] = [copied(key) for key in its["siblingIds"]]
        messages[its["id"]] = {key: value for key, value in its.items() if value is not None}
    return {**exported, "activeLeaf": copied(exported["activeLeaf"]), "messages": messages}


@settings(max_examples=50, deadline=None)
@given(said=_trees(), data=st.data(), face=st.sampled_from([SESSIONS, "/ai-chat/api/sessions/"]))
async def test_an_import_of_an_export_gives_the_same_export(
    said: list[MessageRecord], data: st.DataObject, face: str
) -> None:
    world = FakeWorld()
    world.history = history = WholeHistory()
    leaf = data.draw(st.sampled_from(said))
    made = SessionRecord(
        id=SESSION,
        user_id=USER,
        title="Mine",
        created_at=T0 + 7,
        updated_at=T0 + 8,
        temperature=0.5,
        system_prompt="Be brief.",
        tools=["weather"],
        turn=len(said),
        leaf=str(Leaf(len(said), leaf.role == "assistant", leaf.id)),
        placed=True,
    )
    await history.scene.store.create(made)
    await history.scene.store.add_messages(said)
    async with client_of(world) as client:
        exported = await _export(client, SESSION)
        file = (await client.get(f"{face}{SESSION}/export/")).content
        brought = await client.post(f"{face}import/", content=file)
        assert brought.status_code == 201, brought.text
        assert "x-parley-ignored" not in brought.headers
        new = SessionId(brought.json()["id"])
        again = await _export(client, new)

    messages = {message["id"]: message for message in again["messages"]}
    assert {**again, "messages": messages} == _as_of(exported, new)
