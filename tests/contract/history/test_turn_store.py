"""What every store must do with messages and completions, in memory and on each database."""

import asyncio

import pytest

from services.history.places import Node
from services.history.records import Known, MessageRecord
from shared.contracts.chat import ContentPart, FunctionCall, ToolCall, Usage
from shared.contracts.ids import CompletionId, MessageId
from tests.fakes.history.conversation import OTHER, SESSION, USER
from tests.fakes.history.records import T0, Stores, message, opened, session, usage

STRANGE_TEXTS = [
    "",
    " ",
    "$set",
    "{}",
    '{"a": 1}',
    "[1, 2]",
    "null",
    "true",
    "17",
    "2026-03-01T12:00:00+00:00",
    "quote ' and \" and \\ and % and ?",
    "nul \x00 and bell \x07",
    "emoji 🦜, combining é, right-to-left שלום",
    "line\nline\r\n\ttab",
]


async def read(stores: Stores, name: str = "m") -> MessageRecord:
    (found,) = await stores.messages.messages(USER, SESSION, [MessageId(name)])
    return found


@pytest.mark.parametrize("text", STRANGE_TEXTS)
async def test_text_comes_back_exactly_as_it_was(stores: Stores, text: str) -> None:
    await stores.turns.add_messages([message(content=text, thinking=text, name=text)])

    found = await read(stores)
    assert (found.content, found.thinking, found.name) == (text, text, text)


async def test_a_message_with_everything_comes_back_as_it_was(stores: Stores) -> None:
    call = ToolCall(id="c1", function=FunctionCall(name="f", arguments='{"$a.b": null}'))
    full = message(
        role="assistant",
        parent_id=MessageId("p"),
        content=[
            ContentPart(type="text", text="see"),
            ContentPart(type="image_url", image_url="data:image/png;base64,AAAA"),
        ],
        tool_calls=[call],
        status="failed",
        finish_reason="length",
        model="demo",
        usage=Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3, estimated=True),
    )
    await stores.turns.add_messages([full])

    assert (await read(stores)).to_message() == full.to_message()


async def test_a_message_of_three_megabytes_is_stored(stores: Stores) -> None:
    await stores.turns.add_messages([message(content="x" * 3_000_000)])

    assert (await read(stores)).content == "x" * 3_000_000


async def test_the_first_of_two_with_one_id_stays(stores: Stores) -> None:
    await stores.turns.add_messages([message(content="first"), message("n")])
    await stores.turns.add_messages([message(content="second"), message("o")])

    assert (await read(stores)).content == "first"
    assert {node.id for node in await stores.messages.nodes(USER, SESSION, 1, 99)} == {
        "m",
        "n",
        "o",
    }


async def test_many_writers_of_one_message_at_once_store_it_once(stores: Stores) -> None:
    await asyncio.gather(*(stores.turns.add_messages([message()]) for _ in range(20)))

    assert await stores.messages.nodes(USER, SESSION, 1, 99) == [
        Node(MessageId("m"), None, 1, 1, 10)
    ]


@pytest.mark.parametrize("hidden_first", [True, False])
async def test_a_hidden_message_never_shows_whichever_came_first(
    stores: Stores, hidden_first: bool
) -> None:
    async def add() -> None:
        await stores.turns.add_messages([message(), message("shown")])

    async def hide() -> None:
        await stores.turns.hide_messages(
            USER, SESSION, CompletionId("chatcmpl-1"), [MessageId("m"), MessageId("never")]
        )

    for step in (hide, add, hide, add) if hidden_first else (add, hide, add, hide):
        await step()

    assert [node.id for node in await stores.messages.nodes(USER, SESSION, 1, 99)] == ["shown"]
    assert await stores.messages.messages(USER, SESSION, [MessageId("m")]) == []


async def test_messages_are_their_owners_and_their_sessions_alone(stores: Stores) -> None:
    await stores.turns.add_messages([message(), message("n")])
    ids = [MessageId("m"), MessageId("n"), MessageId("none")]

    assert len(await stores.messages.messages(USER, SESSION, ids)) == 2
    assert await stores.messages.messages(OTHER, SESSION, ids) == []
    assert await stores.messages.messages(USER, session(2).id, ids) == []
    assert await stores.messages.messages(USER, SESSION, []) == []
    assert await stores.messages.nodes(OTHER, SESSION, 1, 99) == []


async def test_usage_is_stored_once_however_often_it_comes(stores: Stores) -> None:
    for total in (3, 4):
        await stores.turns.add_usage(usage(total_tokens=total))

    assert await stores.usage_totals() == [3]


@pytest.mark.parametrize("ended_first", [True, False])
async def test_a_completion_stays_ended_whichever_event_came_first(
    stores: Stores, ended_first: bool
) -> None:
    completion = CompletionId("chatcmpl-1")
    assert await stores.turns.known(completion) == Known()
    if ended_first:
        await stores.turns.end_completion(completion, USER, T0)
        assert await stores.turns.known(completion) == Known(accepted=False, ended=True)
        await stores.turns.open_completion(opened())
    else:
        await stores.turns.open_completion(opened())
        assert await stores.turns.known(completion) == Known(accepted=True, ended=False)
        await stores.turns.end_completion(completion, USER, T0)

    assert await stores.turns.known(completion) == Known(accepted=True, ended=True)
    assert await stores.turns.overdue(T0 + 1_000_000, 10) == []


async def test_an_end_says_whether_it_was_a_rejection(stores: Stores) -> None:
    for name, rejected in (("refused", True), ("ended", False)):
        await stores.turns.end_completion(CompletionId(name), USER, T0, rejected=rejected)

    assert await stores.turns.known(CompletionId("refused")) == Known(ended=True, rejected=True)
    assert await stores.turns.known(CompletionId("ended")) == Known(ended=True)


async def test_overdue_are_those_without_an_end_to_the_millisecond(stores: Stores) -> None:
    for name, at in (("a", T0 + 1), ("b", T0 + 2), ("c", T0 + 3)):
        await stores.turns.open_completion(opened(name, overdue_at=at))
    await stores.turns.end_completion(CompletionId("a"), USER, T0)

    overdue = await stores.turns.overdue(T0 + 3, 10)

    assert overdue == [opened("b", overdue_at=T0 + 2)]
    assert len(await stores.turns.overdue(T0 + 9, 1)) == 1


async def test_marks_of_old_completions_are_purged(stores: Stores) -> None:
    await stores.turns.end_completion(CompletionId("old"), USER, T0)
    await stores.turns.end_completion(CompletionId("new"), USER, T0 + 10)

    await stores.sessions.purge(0, T0 + 5, 10)

    assert await stores.turns.known(CompletionId("old")) == Known()
    assert await stores.turns.known(CompletionId("new")) == Known(ended=True)
