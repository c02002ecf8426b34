"""Pages of any branch, in both directions, and whole trees."""

import pytest

from shared.contracts.history import MessageTree, ReadTree, StoredMessage
from shared.contracts.ids import MessageId
from shared.errors import InvalidRequest, MessageNotFound
from tests.fakes.history.conversation import SESSION, USER, Turn
from tests.unit.history.scene import Scene
from tests.unit.history.test_recorder import record

TREE = ReadTree(user_id=USER, session_id=SESSION)


async def _long(turns: int, *, text: str = "Why?") -> tuple[Scene, Turn]:
    scene, turn = Scene(), Turn(text=text)
    await scene.begin()
    for _ in range(turns - 1):
        await scene.say(turn)
        turn = turn.next(text)
    await scene.say(turn)
    return scene, turn


def _depths(messages: list[StoredMessage]) -> list[int]:
    return [message.depth for message in messages]


async def test_pages_go_forward_from_a_depth_to_the_end() -> None:
    scene, _ = await _long(5)

    first = await scene.detail(after_depth=0, limit=4)
    second = await scene.detail(after_depth=first.next_after_depth, limit=4)
    third = await scene.detail(after_depth=second.next_after_depth, limit=4)

    pages = (first, second, third)
    assert [_depths(page.messages) for page in pages] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert [page.next_before_depth for page in pages] == [None, 5, 9]
    assert third.next_after_depth is None


async def test_a_page_in_the_middle_has_a_cursor_for_each_direction() -> None:
    scene, _ = await _long(5)

    newest = await scene.detail(limit=4)
    middle = await scene.detail(limit=4, before_depth=newest.next_before_depth)

    assert (newest.next_before_depth, newest.next_after_depth) == (7, None)
    assert (middle.next_before_depth, middle.next_after_depth) == (3, 6)


@pytest.mark.parametrize("asked", [{"before_depth": 1}, {"after_depth": 10}, {"after_depth": 99}])
async def test_beyond_either_end_there_is_nothing(asked: dict[str, int]) -> None:
    scene, _ = await _long(5)

    page = await scene.detail(**asked)

    assert (page.messages, page.next_before_depth, page.next_after_depth) == ([], None, None)


async def test_pages_forward_stay_below_900_kilobytes_and_lose_nothing() -> None:
    scene, _ = await _long(8, text='"\n' * 100_000)

    pages = [await scene.detail(after_depth=0)]
    while (after := pages[-1].next_after_depth) is not None:
        pages.append(await scene.detail(after_depth=after))

    assert max(len(page.to_bytes()) for page in pages) < 900_000
    assert [depth for page in pages for depth in _depths(page.messages)] == list(range(1, 17))


async def test_another_branch_is_shown_by_its_end_and_siblings_are_named() -> None:
    scene, turn = Scene(), Turn()
    await scene.begin()
    edited = Turn(3, text="Another question")
    await scene.say(turn, turn.next(), edited)

    active, old = await scene.detail(), await scene.detail(leaf=turn.answer)

    assert [message.id for message in active.messages] == [edited.user_message, edited.answer]
    assert [message.id for message in old.messages] == [turn.user_message, turn.answer]
    both = [turn.user_message, edited.user_message]
    assert [message.sibling_ids for message in active.messages] == [both, None]
    assert old.messages[0].sibling_ids == both
    assert active.session is not None
    assert old.session is not None
    assert old.session.active_leaf == active.session.active_leaf == edited.answer
    assert old.next_after_depth is None


async def test_answers_to_one_question_are_siblings_the_oldest_first() -> None:
    scene, turn = Scene(), Turn()
    await scene.begin()
    await scene.say(turn)
    again = Turn(2)
    place = again.place.model_copy(update={"parent_id": turn.user_message, "new_message_ids": []})
    await record(scene.store, again.accepted(turn=None, place=place), again.completed(place=place))

    messages = (await scene.detail()).messages

    assert [message.id for message in messages] == [turn.user_message, again.answer]
    assert messages[1].sibling_ids == [turn.answer, again.answer]


async def test_a_running_question_is_the_active_end() -> None:
    scene, turn = Scene(), Turn()
    await scene.begin()
    await scene.say(turn)
    await record(scene.store, turn.next().accepted())

    session = (await scene.detail()).session

    assert session is not None
    assert session.active_leaf not in (None, turn.answer)


async def test_a_leaf_that_is_unknown_or_hidden_is_not_found() -> None:
    scene, turn = Scene(), Turn()
    await scene.begin()
    await record(scene.store, turn.accepted(), turn.rejected())

    for leaf in (turn.user_message, MessageId("never")):
        with pytest.raises(MessageNotFound):
            await scene.detail(leaf=leaf)


async def _tree(scene: Scene) -> list[MessageTree]:
    pages = [await scene.trees.page(TREE)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(await scene.trees.page(TREE.model_copy(update={"cursor": cursor})))
    return pages


async def test_a_tree_holds_all_branches_in_order_of_depth() -> None:
    scene, _ = await _long(2)
    edited = Turn(3, text="Another question")
    await scene.say(edited)

    (page,) = await _tree(scene)

    assert _depths(page.messages) == [1, 1, 2, 2, 3, 4]
    assert page.messages == sorted(page.messages, key=lambda it: (it.depth, it.id))
    assert sum(message.sibling_ids is not None for message in page.messages) == 2
    assert page.session is not None
    assert page.session.active_leaf == edited.answer


async def test_a_large_tree_comes_in_pages_below_900_kilobytes() -> None:
    scene, _ = await _long(300)
    await scene.say(*(Turn(301 + number, text="x" * 300_000) for number in range(6)))

    pages = await _tree(scene)

    assert max(len(page.to_bytes()) for page in pages) < 900_000
    ids = [message.id for page in pages for message in page.messages]
    assert len(set(ids)) == len(ids) == 612
    first = [message for page in pages for message in page.messages if message.depth == 1]
    assert all(len(message.sibling_ids or []) == len(first) == 7 for message in first)


async def test_a_tree_of_many_siblings_comes_in_pages_below_900_kilobytes() -> None:
    scene = Scene()
    await scene.begin()
    await scene.say(*(Turn(1 + number) for number in range(250)))

    pages = await _tree(scene)

    assert max(len(page.to_bytes()) for page in pages) < 900_000
    ids = [message.id for page in pages for message in page.messages]
    assert len(set(ids)) == len(ids) == 500
    first = [message for page in pages for message in page.messages if message.depth == 1]
    assert all(len(message.sibling_ids or []) == len(first) == 250 for message in first)


async def test_a_page_of_a_tree_reads_the_texts_of_that_page_alone() -> None:
    scene = Scene()
    await scene.begin()
    await scene.say(*(Turn(1 + number, text="x" * 300_000) for number in range(20)))
    scene.store.read_bytes = 0

    page = await scene.trees.page(TREE)

    assert page.next_cursor is not None
    # The end of the branch that is shown is looked at as well.
    assert scene.store.read_bytes < 1_300_000


async def test_a_page_of_a_tree_reads_each_of_its_messages_twice_and_no_other() -> None:
    scene, _ = await _long(500)
    first = await scene.trees.page(TREE)
    scene.store.read.clear()

    page = await scene.trees.page(TREE.model_copy(update={"cursor": first.next_cursor}))

    # Place and text of each, and the place of the next page's first one.
    assert page.next_cursor is not None
    assert sum(scene.store.read) == 2 * len(page.messages) + 1 <= 401


async def test_the_tree_names_a_running_question_as_the_end_as_a_page_does() -> None:
    scene, turn = Scene(), Turn()
    await scene.begin()
    await scene.say(turn)
    running = turn.next()
    await record(scene.store, running.accepted())

    (page,) = await _tree(scene)

    assert page.session is not None
    assert page.session.active_leaf == running.user_message


async def test_only_a_tree_of_an_older_version_is_looked_through_to_place_it() -> None:
    scene, _ = await _long(3)
    await _tree(scene)
    assert scene.store.repaired == []

    session = scene.store.sessions[SESSION]
    scene.store.sessions[SESSION] = session.model_copy(update={"placed": None})
    await _tree(scene)

    assert scene.store.repaired == [SESSION]


async def test_the_tree_of_an_empty_session_is_empty_and_a_strange_cursor_is_refused() -> None:
    scene = Scene()
    await scene.begin()

    assert (await scene.trees.page(TREE)).messages == []
    for cursor in ("", "x", "!!"):
        with pytest.raises(InvalidRequest):
            await scene.trees.page(TREE.model_copy(update={"cursor": cursor}))
