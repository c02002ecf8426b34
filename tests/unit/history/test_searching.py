"""Sessions found by the words of their titles and messages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.history import searching
from services.history.event_format import Event
from services.history.records import SessionRecord
from services.history.searching import Searching
from services.history.words import Asked
from shared.contracts.chat import ContentPart, Message
from shared.contracts.history import DeleteSession, ListSessions, Session, UpdateSession
from shared.contracts.ids import SessionId, UserId
from tests.fakes.history.conversation import OTHER, SESSION, USER, Turn
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.records import T0, session
from tests.unit.history.scene import Scene
from tests.unit.history.test_recorder import record


async def _search(scene: Scene, text: str, **asked: object) -> list[Session]:
    query = ListSessions(user_id=USER, search=text).model_copy(update=asked)
    return (await scene.sessions.page(query)).sessions


async def _found(scene: Scene, text: str, **asked: object) -> bool:
    return bool(await _search(scene, text, **asked))


async def _scene(*, title: str | None = None, text: str = "Where are parrots?") -> Scene:
    scene = Scene()
    await scene.begin(title=title)
    await scene.say(Turn(text=text), answer="In the Rainforest")
    return scene


@pytest.mark.parametrize("text", ["parrots", "PARROTS where", "rainforest", "birds parrots, the"])
async def test_every_word_may_stand_in_any_message_or_in_the_title(text: str) -> None:
    assert await _found(await _scene(title="My birds"), text)


@pytest.mark.parametrize("text", ["parr", "where PAR", "parrots rainf", "parrots bi", "w", "wher"])
async def test_the_last_word_may_be_typed_in_part(text: str) -> None:
    assert await _found(await _scene(title="My birds"), text)


@pytest.mark.parametrize(
    ("said", "searches", "others"),
    [
        (
            "東京の天気はどうですか。",
            ["天気", "東京", "気", "か", "東京 天気"],
            ["大阪", "気天"],
        ),
        ("我想学习Python编程", ["学习", "编程", "python", "习", "学习 py"], ["习学", "编学"]),
        ("ประเทศไทยสวยงามมาก", ["ไทย", "สวยงาม", "ประเทศ"], ["ลาว"]),
    ],
    ids=["Japanese", "Chinese", "Thai"],
)
async def test_writing_without_spaces_is_found_by_any_part_of_it(
    said: str, searches: list[str], others: list[str]
) -> None:
    scene = await _scene(text=said)

    assert [search for search in searches if not await _found(scene, search)] == []
    assert [search for search in others if await _found(scene, search)] == []


async def test_a_title_is_found_by_the_beginning_of_its_word() -> None:
    scene = await _scene(title="My birds")
    assert await _found(scene, "bir")
    command = UpdateSession(user_id=USER, session_id=SESSION, title="天気予報")
    await scene.changing.update(command)

    assert not await _found(scene, "bir")
    for search in ("天", "予報", "報"):
        assert await _found(scene, search)


async def test_a_common_beginning_stands_for_its_first_words_and_for_itself() -> None:
    store, many = MemoryStore(), searching.MOST_BEGUN + 5
    for number in range(1, many + 1):
        await store.create(session(number, at=T0 + number))
        await store.add_terms(USER, session(number).id, [f"word{number:02}"], said=True)
    await store.add_terms(USER, session(many).id, ["word"], said=True)

    found = Searching(store, store, few=3)
    page = await found.page(USER, [Asked("word", begun=True)], many, None, deleted=False)

    first = [session(number).id for number in range(searching.MOST_BEGUN - 1, 0, -1)]
    assert [record.id for record in page] == [session(many).id, *first]


async def test_who_types_on_finds_what_a_common_beginning_does_not_stand_for() -> None:
    store, many = MemoryStore(), searching.MOST_BEGUN + 5
    for number in range(1, many + 1):
        await store.create(session(number, at=T0 + number))
        await store.add_terms(USER, session(number).id, [f"word{number:02}"], said=True)
    titled = session(many + 1, at=T0).model_copy(update={"title": "My wordlist"})
    await store.create(titled)
    await store.add_terms(USER, titled.id, ["my", "wordlist"], said=False)
    found = Searching(store, store, few=3)

    async def by(start: str) -> list[SessionId]:
        asked = [Asked(start, begun=True)]
        return [it.id for it in await found.page(USER, asked, many, None, deleted=False)]

    assert session(many).id not in await by("w")
    assert await by(f"word{many}") == [session(many).id]
    # Titles are read as they are: each of their words counts, however many begin so.
    assert titled.id in await by("w")


@pytest.mark.parametrize("text", ["parro where", "parrots owls", "arrots", "!?", "_"])
async def test_a_word_that_is_nowhere_is_not_found(text: str) -> None:
    assert not await _found(await _scene(title="My birds"), text)


@pytest.mark.parametrize("text", [None, "", "  "])
async def test_no_search_lists_all(text: str | None) -> None:
    scene = await _scene()

    assert await _search(scene, "x", search=text) == await _search(scene, "parrots")


async def test_only_the_title_of_today_is_found() -> None:
    scene = await _scene(title="My birds")
    command = UpdateSession(user_id=USER, session_id=SESSION, title="My cats")
    await scene.changing.update(command)

    assert await _found(scene, "cats parrots")
    assert not await _found(scene, "birds")


async def test_an_automatic_title_is_found_once_its_turn_has_ended() -> None:
    scene, turn = Scene(), Turn(text="Parrots")
    await scene.begin()
    shown = turn.accepted()
    assert shown.turn is not None
    titled = shown.model_copy(update={"turn": shown.turn.model_copy(update={"title": "Birds"})})
    await record(scene.store, titled)
    assert not await _found(scene, "birds")

    await record(scene.store, turn.expired())

    assert await _found(scene, "birds")


@pytest.mark.parametrize("late", [False, True])
async def test_a_question_is_found_once_its_turn_has_ended_however_it_did(late: bool) -> None:
    scene, turn = await _scene(), Turn().next("Finches")
    events: list[Event] = [turn.accepted(), turn.expired()]
    await record(scene.store, *(events[::-1] if late else events))

    assert await _found(scene, "finches")


@pytest.mark.parametrize("late", [False, True])
async def test_a_rejected_question_is_never_found(late: bool) -> None:
    scene, turn = await _scene(), Turn().next("Finches")
    events: list[Event] = [turn.accepted(), turn.rejected(), turn.accepted()]
    await record(scene.store, *(events[1:] if late else events))

    assert not await _found(scene, "finches")


async def test_parts_are_found_and_thinking_is_not() -> None:
    scene, turn = Scene(), Turn()
    await scene.begin()
    parts = [ContentPart(type="text", text="Look"), ContentPart(type="text", text="here")]
    accepted = turn.accepted()
    assert accepted.turn is not None
    new = accepted.turn.messages[0].model_copy(
        update={"message": Message(role="user", content=parts)}
    )
    asked = accepted.turn.model_copy(update={"messages": [new], "title": None})
    end = turn.completed(thinking="Secretly")
    await record(scene.store, accepted.model_copy(update={"turn": asked}), end)

    assert await _found(scene, "look here answer")
    assert not await _found(scene, "secretly")


async def test_the_sessions_of_others_and_deleted_ones_are_not_found() -> None:
    scene = await _scene()
    assert not await _found(scene, "parrots", user_id=OTHER)

    await scene.sessions.delete(DeleteSession(user_id=USER, session_id=SESSION))

    assert not await _found(scene, "parrots")
    assert await _found(scene, "parrots", deleted=True)


_WORDS = ("rare", "some", "song", "all", "none")


@settings(max_examples=100, deadline=None)
@given(
    having=st.lists(st.frozensets(st.sampled_from(_WORDS[:3])), max_size=25),
    words=st.lists(st.sampled_from(_WORDS), min_size=1, max_size=3, unique=True),
    begun=st.lists(st.sampled_from(["", "s", "so", "rare", "m", "x"]), max_size=2),
    few=st.integers(1, 12),
    limit=st.integers(1, 6),
)
async def test_pages_of_a_search_hold_each_match_once_newest_first(
    having: list[frozenset[str]], words: list[str], begun: list[str], few: int, limit: int
) -> None:
    store = MemoryStore()
    for number, said in enumerate(having, 1):
        made = session(number, at=T0 + number // 3)
        await store.create(made)
        await store.add_terms(USER, made.id, {*said, "all"}, said=True)

    seen: list[SessionRecord] = []
    before: tuple[int, SessionId] | None = None
    found = Searching(store, store, few=few)
    asked = [*map(Asked, words), *(Asked(start, begun=True) for start in begun)]
    while page := await found.page(USER, asked, limit, before, deleted=False):
        assert len(page) <= limit
        seen += page
        before = page[-1].updated_at, page[-1].id

    expected = [
        store.sessions[session(number).id]
        for number, said in enumerate(having, 1)
        if set(words) <= {*said, "all"}
        and all(any(word.startswith(it) for word in {*said, "all"}) for it in begun)
    ]
    assert seen == sorted(expected, key=lambda it: (it.updated_at, it.id), reverse=True)


async def test_a_word_that_few_sessions_have_leads_to_them_without_the_others() -> None:
    class Counting(MemoryStore):
        listed = 0

        async def page(
            self,
            user_id: UserId,
            limit: int,
            before: tuple[int, SessionId] | None,
            *,
            deleted: bool = False,
        ) -> list[SessionRecord]:
            self.listed += 1
            return await super().page(user_id, limit, before, deleted=deleted)

    store = Counting()
    for number in range(1, searching.FEW + 100):
        await store.create(session(number))
        await store.add_terms(USER, session(number).id, ["common"], said=True)
    await store.add_terms(USER, session(7).id, ["rare"], said=True)

    page = await Searching(store, store).page(
        USER, [Asked("common"), Asked("rare")], 5, None, deleted=False
    )

    assert [record.id for record in page] == [session(7).id]
    assert store.listed == 0
