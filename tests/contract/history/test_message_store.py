"""What every store must do when a tree of messages is read by ranges."""

import pytest

from services.history.places import Node
from services.history.records import MessageRecord
from shared.contracts.ids import CompletionId, MessageId
from tests.fakes.history.conversation import OTHER, SESSION, USER
from tests.fakes.history.records import Stores, message, session


def _tree() -> list[MessageRecord]:
    """Two branches of depth 1 to 12, so that depths sort as numbers do; the second is younger."""
    return [
        message(
            f"{branch}{depth}",
            depth=depth,
            turn=turn + depth,
            parent_id=MessageId(f"{branch}{depth - 1}") if depth > 1 else None,
        )
        for branch, turn in (("b", 0), ("a", 20))
        for depth in range(1, 13)
    ]


def _names(nodes: list[Node]) -> list[str]:
    return [node.id for node in nodes]


async def test_depths_are_read_by_range_over_all_branches(stores: Stores) -> None:
    await stores.turns.add_messages(_tree())

    nodes = await stores.messages.nodes(USER, SESSION, 9, 11)

    assert _names(nodes) == ["a9", "b9", "a10", "b10", "a11", "b11"]
    assert nodes[1] == Node(MessageId("b9"), MessageId("b8"), 9, 9, 10)
    assert await stores.messages.nodes(USER, SESSION, 13, 99) == []
    assert await stores.messages.nodes(OTHER, SESSION, 1, 99) == []
    assert await stores.messages.nodes(USER, session(2).id, 1, 99) == []


async def test_the_newest_is_that_of_the_latest_turn(stores: Stores) -> None:
    assert await stores.messages.newest(USER, SESSION) is None
    await stores.turns.add_messages([*_tree(), message("late", depth=2, turn=100)])
    await stores.turns.add_messages([message("foreign", turn=200, session_id=session(2).id)])

    newest = await stores.messages.newest(USER, SESSION)

    assert newest is not None
    assert newest.id == "late"
    assert await stores.messages.newest(OTHER, SESSION) is None


async def test_a_tree_is_read_in_order_of_depth_and_id(stores: Stores) -> None:
    await stores.turns.add_messages(_tree())
    await stores.turns.add_messages([message("foreign", session_id=session(2).id)])

    seen: list[Node] = []
    while page := await stores.messages.tree(
        USER, SESSION, (seen[-1].depth, seen[-1].id) if seen else None, 5
    ):
        seen += page

    expected = sorted(_tree(), key=lambda it: (it.depth, it.id))
    assert seen == [it.node() for it in expected]
    assert await stores.messages.tree(OTHER, SESSION, None, 5) == []


async def test_a_stretch_of_the_tree_is_read_with_its_texts(stores: Stores) -> None:
    await stores.turns.add_messages(_tree())
    await stores.turns.add_messages([message("foreign", depth=10, session_id=session(2).id)])
    first, last = MessageId("b9"), MessageId("a11")

    found = await stores.messages.stretch(USER, SESSION, (9, first), (11, last))

    stored = {it.id: it for it in _tree()}
    assert found == [stored[MessageId(key)] for key in ("b9", "a10", "b10", "a11")]
    assert await stores.messages.stretch(OTHER, SESSION, (9, first), (11, last)) == []
    assert await stores.messages.stretch(USER, SESSION, (13, first), (14, last)) == []


async def test_what_is_hidden_is_in_no_range(stores: Stores) -> None:
    await stores.turns.add_messages([message("m"), message("shown", depth=2)])
    await stores.turns.hide_messages(
        USER, SESSION, CompletionId("chatcmpl-1"), [MessageId("m"), MessageId("never")]
    )
    await stores.turns.add_messages([message("never", depth=3, turn=9)])
    await stores.messages.repair(USER, SESSION)

    assert _names(await stores.messages.nodes(USER, SESSION, 1, 9)) == ["shown"]
    assert [it.id for it in await stores.messages.tree(USER, SESSION, None, 9)] == ["shown"]
    ends = (1, MessageId("")), (9, MessageId("~"))
    assert [it.id for it in await stores.messages.stretch(USER, SESSION, *ends)] == ["shown"]
    newest = await stores.messages.newest(USER, SESSION)
    assert newest is not None
    assert newest.id == "shown"


async def test_messages_of_an_older_version_are_brought_into_order(stores: Stores) -> None:
    await stores.turns.add_messages(_tree())
    newest = await stores.messages.newest(USER, SESSION)
    nodes = await stores.messages.nodes(USER, SESSION, 1, 12)
    await stores.age()

    await stores.messages.repair(OTHER, SESSION)
    await stores.messages.repair(USER, SESSION)

    assert await stores.messages.nodes(USER, SESSION, 1, 12) == nodes
    assert await stores.messages.newest(USER, SESSION) == newest
    assert await stores.messages.repair(USER, SESSION) == 0


async def test_words_lead_to_sessions_of_their_user(stores: Stores) -> None:
    two, strange = session(2).id, ["$set", "a.b", "naïve", "日本"]
    await stores.turns.add_terms(USER, SESSION, ["plan", "trip", *strange], said=True)
    await stores.turns.add_terms(USER, two, ["plan"], said=False)
    await stores.turns.add_terms(OTHER, session(3).id, ["plan"], said=True)

    assert await stores.terms.sessions_with(USER, "plan", 9) == {SESSION: True, two: False}
    assert len(await stores.terms.sessions_with(USER, "plan", 1)) == 1
    assert await stores.terms.sessions_with(USER, "pla", 9) == {}
    for word in strange:
        assert await stores.terms.sessions_with(USER, word, 9) == {SESSION: True}
    among = await stores.terms.among(USER, ["plan", "trip"], [SESSION, two])
    assert among == {("plan", SESSION): True, ("trip", SESSION): True, ("plan", two): False}
    assert await stores.terms.among(USER, [], [SESSION]) == {}


async def test_words_are_found_by_their_beginning_in_order(stores: Stores) -> None:
    two = session(2).id
    await stores.turns.add_terms(USER, SESSION, ["plan", "plans", "trip", "天気", "天"], said=True)
    await stores.turns.add_terms(USER, two, ["planet", "plan"], said=False)
    await stores.turns.add_terms(OTHER, session(3).id, ["plane"], said=True)

    found = await stores.terms.beginning(USER, "plan", 9)

    assert [it.word for it in found] == ["plan", "plan", "planet", "plans"]
    assert {(it.word, it.session_id, it.said) for it in found} == {
        ("plan", SESSION, True),
        ("plan", two, False),
        ("planet", two, False),
        ("plans", SESSION, True),
    }
    rest = await stores.terms.beginning(USER, "plan", 1, "plan")
    assert [it.word for it in rest] == ["planet"]
    assert await stores.terms.beginning(USER, "plan", 9, "plans") == []
    assert [it.word for it in await stores.terms.beginning(USER, "天", 9)] == ["天", "天気"]
    assert await stores.terms.beginning(USER, "x", 9) == []


@pytest.mark.parametrize(
    ("word", "begun", "times"), [("plan", False, 2), ("pla", False, 0), ("pla", True, 4)]
)
async def test_a_word_is_had_at_least_as_often_as_it_is(
    stores: Stores, word: str, begun: bool, times: int
) -> None:
    await stores.turns.add_terms(USER, SESSION, ["plan", "plans", "trip"], said=True)
    await stores.turns.add_terms(USER, session(2).id, ["planet", "plan"], said=False)
    await stores.turns.add_terms(OTHER, session(3).id, ["plan", "plane"], said=True)

    for count in range(1, 6):
        enough = await stores.terms.at_least(USER, word, count, begun=begun)
        assert enough is (count <= times)


async def test_a_word_that_was_said_stays_said_whichever_write_came_first(stores: Stores) -> None:
    for word, order in (("one", (True, False)), ("two", (False, True, False))):
        for said in order:
            await stores.turns.add_terms(USER, SESSION, [word], said=said)

        assert await stores.terms.sessions_with(USER, word, 9) == {SESSION: True}


async def test_many_words_are_stored_at_once(stores: Stores) -> None:
    words = [f"word{number}" for number in range(250)]
    await stores.turns.add_terms(USER, SESSION, words[:120], said=True)
    await stores.turns.add_terms(USER, SESSION, words, said=True)

    assert len(await stores.terms.among(USER, words, [SESSION])) == 250
