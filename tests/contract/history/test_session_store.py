"""What every store must do with sessions, in memory and on each database."""

import asyncio
import random

from services.history.records import Advance, Change, SessionRecord
from shared.contracts.ids import CompletionId
from tests.fakes.history.conversation import OTHER, SESSION, USER
from tests.fakes.history.records import T0, Stores, message, session


async def test_a_created_session_comes_back_as_it_was(stores: Stores) -> None:
    made = session().model_copy(update={"title": "Plans", "model": "demo"})

    assert await stores.sessions.create(made) == made
    assert await stores.sessions.get(USER, made.id) == made


async def test_creating_again_gives_the_first_one(stores: Stores) -> None:
    await stores.sessions.create(session())

    assert await stores.sessions.create(session(at=T0 + 5)) == session()


async def test_of_many_creators_at_once_all_get_the_same_session(stores: Stores) -> None:
    made = await asyncio.gather(*(stores.sessions.create(session(at=T0 + n)) for n in range(10)))

    assert len({record.created_at for record in made if record}) == 1


async def test_a_foreign_session_does_not_exist(stores: Stores) -> None:
    await stores.sessions.create(session())

    assert await stores.sessions.get(OTHER, SESSION) is None
    assert await stores.sessions.change(OTHER, SESSION, 1, Change(T0, "Mine")) is None
    assert await stores.sessions.delete(OTHER, SESSION, T0) is None
    assert await stores.sessions.create(session(user_id=OTHER)) is None
    assert await stores.sessions.get(USER, SESSION) == session()


async def test_a_title_is_set_and_the_time_only_moves_forward(stores: Stores) -> None:
    await stores.sessions.create(session())

    await stores.sessions.change(USER, SESSION, 1, Change(T0 + 999, "First"))
    renamed = await stores.sessions.change(USER, SESSION, 2, Change(T0 + 1, "Second"))

    assert renamed is not None
    assert (renamed.title, renamed.updated_at) == ("Second", T0 + 999)
    assert await stores.sessions.get(USER, SESSION) == renamed


async def test_a_deleted_session_is_gone_for_readers_and_stays_gone(stores: Stores) -> None:
    await stores.sessions.create(session())

    assert await stores.sessions.delete(USER, SESSION, T0 + 1) == session()
    assert await stores.sessions.delete(USER, SESSION, T0 + 2) is None
    assert await stores.sessions.change(USER, SESSION, 1, Change(T0 + 3, "Back")) is None
    assert await stores.sessions.create(session()) is None
    assert await stores.sessions.page(USER, 10, None) == []
    assert await stores.turns.owns(USER, SESSION)


async def test_pages_hold_each_session_once_newest_first(stores: Stores) -> None:
    # Equal times, and times within one second and on the full second.
    times = [T0, T0, T0, T0 + 1, T0 + 100, T0 + 999, T0 + 1000, T0 + 60_000, T0 + 60_000]
    made = [session(number, at=time) for number, time in enumerate(times, 1)]
    for record in random.Random(7).sample(made, len(made)):
        await stores.sessions.create(record)
    await stores.sessions.create(session(99, user_id=OTHER))

    seen: list[SessionRecord] = []
    while page := await stores.sessions.page(
        USER, 2, (seen[-1].updated_at, seen[-1].id) if seen else None
    ):
        seen += page

    assert seen == sorted(made, key=lambda it: (it.updated_at, it.id), reverse=True)


async def test_a_turn_moves_its_session_to_the_front(stores: Stores) -> None:
    await stores.sessions.create(session(1, at=T0))
    await stores.sessions.create(session(2, at=T0 + 100))

    await stores.turns.advance(USER, session(1).id, Advance(turn=1, updated_at=T0 + 999))

    page = await stores.sessions.page(USER, 10, None)
    assert [record.id for record in page] == [session(1).id, session(2).id]


async def test_purging_takes_what_was_deleted_before_and_its_messages(stores: Stores) -> None:
    for number in (1, 2, 3):
        await stores.sessions.create(session(number))
    await stores.turns.add_messages([message()])
    await stores.sessions.delete(USER, session(1).id, T0 + 5)
    await stores.sessions.delete(USER, session(2).id, T0 + 50)

    assert await stores.sessions.purge(T0 + 10, 0, 10) == 1

    assert not await stores.turns.owns(USER, session(1).id)
    assert await stores.turns.owns(USER, session(2).id)
    assert await stores.turns.owns(USER, session(3).id)
    assert await stores.messages.nodes(USER, SESSION, 1, 99) == []


async def test_the_database_gives_a_sign_of_life(stores: Stores) -> None:
    await stores.sessions.ping()


async def test_every_field_is_raised_and_never_lowered(stores: Stores) -> None:
    await stores.sessions.create(session())
    high = Advance(turn=12, message_count=30, updated_at=T0 + 1500, leaf="0000000012|1|b")
    low = Advance(turn=3, message_count=4, updated_at=T0 + 999, leaf="0000000003|1|a")

    for advance in (low, high, low):
        await stores.turns.advance(USER, SESSION, advance)

    moved = await stores.sessions.get(USER, SESSION)
    assert moved is not None
    assert (moved.turn, moved.message_count) == (12, 30)
    assert (moved.updated_at, moved.leaf) == (T0 + 1500, "0000000012|1|b")


async def test_the_earliest_turn_gives_the_automatic_title(stores: Stores) -> None:
    await stores.sessions.create(session())
    for turn, title in ((10, "Late"), (2, "Early"), (3, "Middle")):
        completion = CompletionId(f"chatcmpl-{turn}")
        await stores.turns.advance(USER, SESSION, Advance(turn, running=(completion, title)))
        await stores.turns.settle_title(USER, SESSION, completion, keep=True)

    moved = await stores.sessions.get(USER, SESSION)
    assert moved is not None
    assert moved.to_session().title == "Early"
    assert moved.titled()


async def test_a_running_title_is_shown_until_it_is_taken_back(stores: Stores) -> None:
    made = await stores.sessions.create(session())
    first, second = CompletionId("chatcmpl-1"), CompletionId("chatcmpl-2")
    for turn, completion, title in ((1, first, "First | one"), (2, second, "Second")):
        await stores.turns.advance(USER, SESSION, Advance(turn, running=(completion, title)))
    shown = []
    for completion in (first, second, second):
        assert await stores.turns.running_title(OTHER, SESSION, completion) is None
        running = await stores.sessions.get(USER, SESSION)
        assert running is not None
        assert not running.titled()
        shown.append(running.shown_title())
        await stores.turns.settle_title(USER, SESSION, completion, keep=False)
        assert await stores.turns.running_title(USER, SESSION, completion) is None

    assert shown == ["First | one", "Second", "New chat"]
    left = await stores.sessions.get(USER, SESSION)
    assert made is not None
    assert left == made.model_copy(update={"turn": 2})


async def test_what_is_forgotten_is_one_users_of_one_session(stores: Stores) -> None:
    for user in (USER, OTHER):
        await stores.turns.add_messages([message(f"m-{user}", user_id=user)])
        await stores.turns.add_terms(user, SESSION, ["hello"], said=True)
    elsewhere = session(2).id
    await stores.turns.add_messages([message("n", session_id=elsewhere)])
    await stores.turns.add_terms(USER, elsewhere, ["hello"], said=True)

    await stores.turns.forget(USER, SESSION)

    assert await stores.messages.nodes(USER, SESSION, 1, 9) == []
    assert len(await stores.messages.nodes(OTHER, SESSION, 1, 9)) == 1
    assert len(await stores.messages.nodes(USER, elsewhere, 1, 9)) == 1
    assert await stores.terms.sessions_with(USER, "hello", 9) == {elsewhere: True}
    assert await stores.terms.sessions_with(OTHER, "hello", 9) == {SESSION: True}


async def test_a_session_that_is_being_purged_is_nobodys_and_does_not_come_back(
    stores: Stores,
) -> None:
    await stores.sessions.create(session())
    await stores.sessions.delete(USER, SESSION, T0)
    assert len(await stores.sessions.page(USER, 9, None, deleted=True)) == 1

    await stores.begin_purge(SESSION)

    assert not await stores.turns.owns(USER, SESSION)
    assert await stores.sessions.page(USER, 9, None, deleted=True) == []
    assert await stores.sessions.some(USER, [SESSION], deleted=True) == []
    assert await stores.sessions.restore(USER, SESSION) is None


async def test_a_persons_title_stays(stores: Stores) -> None:
    await stores.sessions.create(session())
    await stores.sessions.change(USER, SESSION, 1, Change(T0, "Mine"))
    await stores.turns.advance(
        USER, SESSION, Advance(1, running=(CompletionId("chatcmpl-1"), "Automatic"))
    )

    moved = await stores.sessions.get(USER, SESSION)
    assert moved is not None
    assert moved.to_session().title == "Mine"


async def test_a_foreign_or_missing_session_is_neither_made_nor_moved(stores: Stores) -> None:
    await stores.turns.advance(USER, SESSION, Advance(turn=1, updated_at=T0))
    assert not await stores.turns.owns(USER, SESSION)
    await stores.sessions.create(session())
    await stores.turns.advance(OTHER, SESSION, Advance(turn=1, updated_at=T0 + 5))

    assert await stores.sessions.get(USER, SESSION) == session()


async def test_a_deleted_session_is_not_brought_back(stores: Stores) -> None:
    await stores.sessions.create(session())
    await stores.sessions.delete(USER, SESSION, T0 + 1)
    await stores.turns.advance(USER, SESSION, Advance(turn=1, updated_at=T0 + 5))

    assert await stores.sessions.get(USER, SESSION) is None
