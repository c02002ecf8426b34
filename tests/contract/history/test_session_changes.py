"""What every store must do when people change, delete, restore and copy sessions."""

import asyncio
from typing import Any

from services.history.records import Change, SessionRecord
from tests.fakes.history.conversation import OTHER, SESSION, USER
from tests.fakes.history.records import T0, Stores, message, session

SETTINGS: dict[str, Any] = {
    "model": "demo",
    "temperature": 0.5,
    "top_p": 1.0,
    "max_tokens": 7,
    "system_prompt": 'Be "brief" $now',
    "tools": ["search", "$x"],
}


async def changed(stores: Stores, version: int, change: Change) -> SessionRecord:
    found = await stores.sessions.change(USER, SESSION, version, change)
    assert found is not None
    return found


async def test_all_settings_come_back_as_they_were(stores: Stores) -> None:
    made = session().model_copy(update={**SETTINGS, "preset_id": "p", "tools": []})
    await stores.sessions.create(made)

    assert await stores.sessions.get(USER, SESSION) == made


async def test_settings_are_set_and_cleared_and_the_others_stay(stores: Stores) -> None:
    await stores.sessions.create(session())
    first = await changed(stores, 1, Change(T0 + 5, "Mine", SETTINGS))

    second = await changed(
        stores, 2, Change(T0 + 1, settings={"model": "other"}, cleared=["tools", "top_p"])
    )

    assert (first.version, first.title, first.settings()) == (2, "Mine", SETTINGS)
    kept = {**SETTINGS, "model": "other", "tools": None, "top_p": None}
    assert (second.version, second.title, second.settings()) == (3, "Mine", kept)
    assert second.updated_at == T0 + 5
    assert await stores.sessions.get(USER, SESSION) == second


async def test_a_change_of_another_version_changes_nothing(stores: Stores) -> None:
    await stores.sessions.create(session())
    now = await changed(stores, 1, Change(T0, "First"))

    for version in (0, 1, 3):
        change = Change(T0, "Late")
        assert await stores.sessions.change(USER, SESSION, version, change) is None
    assert await stores.sessions.get(USER, SESSION) == now


async def test_of_many_changers_of_one_version_one_wins(stores: Stores) -> None:
    await stores.sessions.create(session())

    changes = [Change(T0, f"Title {n}") for n in range(10)]
    won = await asyncio.gather(
        *(stores.sessions.change(USER, SESSION, 1, change) for change in changes)
    )

    (winner,) = [record for record in won if record is not None]
    assert await stores.sessions.get(USER, SESSION) == winner


async def test_a_session_without_a_version_counts_as_the_first(stores: Stores) -> None:
    await stores.sessions.create(session())
    await stores.age()

    found = await stores.sessions.get(USER, SESSION)
    assert found is not None
    assert found.version == 1
    assert (await changed(stores, 1, Change(T0, "Second"))).version == 2


async def test_a_change_moves_its_session_to_the_front(stores: Stores) -> None:
    await stores.sessions.create(session(1))
    await stores.sessions.create(session(2, at=T0 + 5))
    await changed(stores, 1, Change(T0 + 9, settings={"model": "demo"}))

    page = await stores.sessions.page(USER, 10, None)
    assert [record.id for record in page] == [session(1).id, session(2).id]


async def test_deleted_sessions_have_a_list_of_their_own(stores: Stores) -> None:
    for number in range(1, 6):
        await stores.sessions.create(session(number, at=T0 + number))
    for number in (2, 4, 5):
        await stores.sessions.delete(USER, session(number).id, T0 + 50)

    deleted = await stores.sessions.page(USER, 2, None, deleted=True)
    assert [record.id for record in deleted] == [session(5).id, session(4).id]
    rest = await stores.sessions.page(
        USER, 2, (deleted[-1].updated_at, deleted[-1].id), deleted=True
    )
    assert [(record.id, record.deleted_at) for record in rest] == [(session(2).id, T0 + 50)]
    ids = [session(number).id for number in range(1, 10)]
    shown = await stores.sessions.some(USER, ids)
    assert {record.id for record in shown} == {session(1).id, session(3).id}
    assert len(await stores.sessions.some(USER, ids, deleted=True)) == 3
    assert await stores.sessions.some(OTHER, ids) == []
    assert await stores.sessions.some(USER, []) == []


async def test_a_restored_session_is_as_it_was(stores: Stores) -> None:
    made = await stores.sessions.create(session())
    assert await stores.sessions.restore(USER, SESSION) is None
    await stores.sessions.delete(USER, SESSION, T0 + 1)
    assert await stores.sessions.restore(OTHER, SESSION) is None

    assert await stores.sessions.restore(USER, SESSION) == made
    assert await stores.sessions.get(USER, SESSION) == made
    assert await stores.sessions.restore(USER, session(2).id) is None


async def test_a_session_is_deleted_in_the_version_that_is_named(stores: Stores) -> None:
    made = await stores.sessions.create(session())
    await stores.age()

    assert await stores.sessions.delete(USER, SESSION, T0, version=2) is None
    assert await stores.sessions.get(USER, SESSION) == made
    assert await stores.sessions.delete(OTHER, SESSION, T0, version=1) is None
    assert await stores.sessions.delete(USER, SESSION, T0, version=1) == made
    assert await stores.sessions.get(USER, SESSION) is None


async def test_a_purged_session_is_not_restored_and_leaves_no_word(stores: Stores) -> None:
    await stores.sessions.create(session())
    await stores.turns.add_messages([message()])
    await stores.turns.add_terms(USER, SESSION, ["hello"], said=True)
    await stores.turns.add_terms(USER, session(2).id, ["hello"], said=True)
    await stores.sessions.delete(USER, SESSION, T0)

    await stores.sessions.purge(T0 + 1, 0, 10)

    assert await stores.sessions.restore(USER, SESSION) is None
    assert await stores.terms.sessions_with(USER, "hello", 10) == {session(2).id: True}


async def test_a_session_that_is_being_made_exists_for_nobody(stores: Stores) -> None:
    copy = session().model_copy(update={"turn": 3, "leaf": "0000000003|1|m", "message_count": 6})

    formed = await stores.copies.form(copy)

    assert formed is not None
    assert formed.forming
    assert await stores.sessions.get(USER, SESSION) is None
    assert await stores.sessions.create(copy) is None
    assert await stores.sessions.restore(USER, SESSION) is None
    for deleted in (False, True):
        assert await stores.sessions.page(USER, 10, None, deleted=deleted) == []
        assert await stores.sessions.some(USER, [SESSION], deleted=deleted) == []
    assert await stores.copies.show(copy) == copy
    assert await stores.sessions.get(USER, SESSION) == copy


async def test_making_again_finds_what_there_is(stores: Stores) -> None:
    await stores.copies.form(session())
    again = await stores.copies.form(session(at=T0 + 5))
    assert again is not None
    assert again.created_at == T0
    assert await stores.copies.form(session(user_id=OTHER)) is None

    made = await stores.copies.show(session())

    assert await stores.copies.form(session(at=T0 + 9)) == made
    await stores.sessions.delete(USER, SESSION, T0)
    assert await stores.copies.form(session()) is None
    assert await stores.copies.show(session()) is None


async def test_a_session_that_was_never_finished_is_purged(stores: Stores) -> None:
    await stores.copies.form(session())
    await stores.turns.add_messages([message()])

    assert await stores.sessions.purge(T0 + 1, 0, 10) == 0
    assert await stores.sessions.purge(0, 0, 10, formed_before=T0) == 0
    assert await stores.sessions.purge(0, 0, 10, formed_before=T0 + 1) == 1
    assert await stores.messages.nodes(USER, SESSION, 1, 9) == []


async def test_what_a_purge_left_half_removed_is_removed_by_the_next(stores: Stores) -> None:
    await stores.sessions.create(session())
    await stores.turns.add_messages([message()])
    await stores.sessions.delete(USER, SESSION, T0)
    await stores.begin_purge(SESSION)

    assert await stores.sessions.purge(0, 0, 10) == 1

    assert await stores.messages.nodes(USER, SESSION, 1, 9) == []
    assert await stores.copies.find(USER, SESSION) is None


async def test_a_copy_that_is_being_purged_is_not_gone_on_with(stores: Stores) -> None:
    await stores.copies.form(session())
    await stores.begin_purge(SESSION)

    assert await stores.copies.form(session()) is None
    assert await stores.copies.show(session()) is None


async def test_a_copy_that_is_given_up_is_gone_but_not_one_that_is_shown(stores: Stores) -> None:
    await stores.copies.form(session())
    await stores.copies.abandon(OTHER, SESSION)
    assert await stores.copies.find(USER, SESSION) is not None
    await stores.copies.abandon(USER, SESSION)
    assert await stores.copies.find(USER, SESSION) is None

    await stores.copies.form(session())
    await stores.copies.show(session())
    await stores.copies.abandon(USER, SESSION)
    assert await stores.sessions.get(USER, SESSION) is not None


async def test_a_session_is_found_in_whatever_state_it_is(stores: Stores) -> None:
    async def state() -> tuple[bool, bool, bool]:
        found = await stores.copies.find(USER, SESSION)
        assert found is not None
        return bool(found.forming), found.deleted_at is not None, bool(found.purging)

    assert await stores.copies.find(USER, SESSION) is None
    await stores.copies.form(session())
    assert await state() == (True, True, False)
    await stores.copies.show(session())
    assert await state() == (False, False, False)
    await stores.sessions.delete(USER, SESSION, T0)
    assert await state() == (False, True, False)
    await stores.begin_purge(SESSION)
    assert await state() == (False, True, True)
    assert await stores.copies.find(OTHER, SESSION) is None
