"""A page of a branch is found without reading the whole tree."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.history.places import Node
from services.history.records import MessageRecord
from services.history.walking import Stretch, Walking
from shared.contracts.ids import MessageId
from tests.fakes.history.conversation import SESSION, USER
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.records import message


def _store(parents: list[int | None]) -> MemoryStore:
    """Message ``n`` follows message ``parents[n]``."""
    store = MemoryStore()
    made: list[MessageRecord] = []
    for number, parent in enumerate(parents):
        above = made[parent] if parent is not None else None
        made.append(
            message(
                f"{number:05d}",
                depth=above.depth + 1 if above else 1,
                turn=number,
                parent_id=above.id if above else None,
            )
        )
    store.stored_messages = {it.id: it for it in made}
    return store


def _branch(store: MemoryStore, end: MessageRecord) -> list[Node]:
    branch = [end.node()]
    while (parent := branch[-1].parent_id) is not None:
        branch.append(store.message(parent).node())
    return branch[::-1]


async def _stretch(store: MemoryStore, end: MessageRecord, first: int, last: int) -> Stretch:
    return await Walking(store).stretch(USER, SESSION, end.node(), first, last)


def _growing(dice: random.Random, size: int, forks: float) -> list[int | None]:
    """A tree whose branches grow side by side."""
    parents: list[int | None] = [None]
    ends = [0]
    for number in range(1, size):
        if dice.random() < forks:
            parents.append(dice.choice([None, *range(number)]))
            ends.append(number)
        else:
            which = dice.randrange(len(ends))
            parents.append(ends[which])
            ends[which] = number
    return parents


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6), forks=st.sampled_from([0.0, 0.02, 0.1, 0.5]), data=st.data())
async def test_any_stretch_of_any_branch_of_any_tree_is_what_parents_say(
    seed: int, forks: float, data: st.DataObject
) -> None:
    dice = random.Random(seed)
    parents = _growing(dice, dice.randint(2, 300), forks)
    store = _store(parents)
    end = store.message(MessageId(f"{dice.randrange(len(parents)):05d}"))
    first = data.draw(st.integers(-1, end.depth + 1))
    last = data.draw(st.integers(-1, end.depth + 1))

    found = await _stretch(store, end, first, last)

    branch = _branch(store, end)
    assert found.nodes == [node for node in branch if first <= node.depth <= last]
    assert found.more == (bool(found.nodes) and found.nodes[0].depth > 1)
    assert found.whole
    for node in branch:
        same = [
            MessageId(f"{number:05d}")
            for number, parent in enumerate(parents)
            if (f"{parent:05d}" if parent is not None else None) == node.parent_id
        ]
        if node in found.nodes:
            assert found.siblings.get(node.id) == (same if len(same) > 1 else None)


@pytest.mark.parametrize(("first", "last"), [(9801, 10_000), (4801, 5000), (1, 200)])
async def test_a_page_of_a_long_session_reads_little_more_than_itself(
    first: int, last: int
) -> None:
    store = _store([None, *range(9999)])

    found = await _stretch(store, store.message(MessageId("09999")), first, last)

    assert [node.depth for node in found.nodes] == list(range(first, last + 1))
    assert sum(store.read) <= 201


async def test_a_page_between_branches_reads_on_to_where_they_part_only() -> None:
    # 5,000 in a row; then two branches of 100 side by side, the first of which goes on.
    trunk: list[int | None] = [None, *range(4999)]
    first = [4999, *range(5000, 5099)]
    second = [4999, *range(5100, 5199)]
    store = _store([*trunk, *first, *second, 5099, *range(5200, 10_000)])

    found = await _stretch(store, store.message(MessageId("10000")), 5000, 5010)

    assert [node.id for node in found.nodes] == ["04999", *(f"{n:05d}" for n in range(5000, 5010))]
    assert sum(store.read) < 500


async def test_where_a_parent_is_missing_the_branch_begins_later() -> None:
    store = _store([None, 0, 1, 2, 3, 4])
    del store.stored_messages[MessageId("00002")]

    found = await _stretch(store, store.message(MessageId("00005")), 1, 6)

    assert [node.id for node in found.nodes] == ["00003", "00004", "00005"]
    assert (found.more, found.whole) == (False, False)
