"""The list of sessions is told the newest word on each, in whatever order words come."""

from datetime import timedelta

from services.api.schemas.sockets import ServerMessage, SessionChanged
from services.api.sockets.list_news import ListNews
from shared.contracts.history import DEFAULT_TITLE, Session
from shared.contracts.ids import SessionId, new_session_id
from shared.contracts.live import LiveEvent
from tests.fakes.api.history import NOON

HERE = new_session_id()


def session(session_id: SessionId = HERE, *, version: int = 1, minutes: int = 0) -> Session:
    return Session(
        id=session_id,
        title=f"{version}.{minutes}",
        created_at=NOON,
        updated_at=NOON + timedelta(minutes=minutes),
        message_count=0,
        version=version,
    )


def word(kind: str, about: Session | None, session_id: SessionId = HERE) -> LiveEvent:
    event = {"type": kind, "session_id": session_id, "origin": "gw", "session": about}
    return LiveEvent.model_validate(event)


def turn(kind: str, about: Session | None, completion: str, title: str | None = None) -> LiveEvent:
    more = {"completion_id": completion, "title": title}
    return word(kind, about).model_copy(update=more)


def answering(message: ServerMessage | None) -> str | None:
    assert isinstance(message, SessionChanged)
    return message.answering


def title(message: ServerMessage | None) -> str | None:
    assert message is None or isinstance(message, SessionChanged)
    return message.session.title if message is not None else None


def begin(news: ListNews, event: LiveEvent, read: Session) -> ServerMessage | None:
    """A turn starts, and then its session is read."""
    news.started(event)
    return news.begun(event, read)


def test_what_was_read_before_a_change_does_not_undo_it() -> None:
    news = ListNews()
    assert title(news.of(word("session_updated", session(version=2, minutes=5)))) == "2.5"
    assert news.of(word("session_updated", session(version=1, minutes=6))) is None
    assert news.of(word("session_updated", session(version=2, minutes=4))) is None
    assert title(news.of(word("session_updated", session(version=2, minutes=7)))) == "2.7"


def test_what_is_deleted_stays_so_until_it_is_restored() -> None:
    news = ListNews()
    gone = news.of(word("session_deleted", None))
    assert gone is not None
    assert gone.model_dump() == {"type": "session_deleted", "session_id": HERE}
    assert news.of(word("session_updated", session(version=9, minutes=9))) is None
    other = new_session_id()
    assert title(news.of(word("session_updated", session(other), other))) == "1.0"
    assert title(news.of(word("session_created", session(version=3)))) == "3.0"
    assert title(news.of(word("session_updated", session(version=4)))) == "4.0"


def test_what_is_no_news_of_the_list_is_not_told() -> None:
    assert ListNews().of(word("typing", None)) is None


def test_only_so_much_is_remembered() -> None:
    news = ListNews()
    news.of(word("session_updated", session(version=2)))
    for _ in range(256):
        other = new_session_id()
        news.of(word("session_updated", session(other), other))
    assert title(news.of(word("session_updated", session(version=1)))) == "1.0"


def test_a_session_is_answering_from_the_beginning_of_a_turn_to_its_end() -> None:
    news = ListNews()
    begun = begin(news, turn("turn_started", None, "c1", "Hello"), session())
    assert answering(begun) == "c1"
    assert title(begun) == "1.0"
    renamed = news.of(word("session_updated", session(version=2)))
    assert (answering(renamed), title(renamed)) == ("c1", "2.0")
    ended = news.of(turn("session_updated", session(version=2, minutes=1), "c1"))
    assert (answering(ended), title(ended)) == (None, "2.1")


def test_a_session_that_changes_while_it_is_read_is_answering() -> None:
    news, asked = ListNews(), turn("turn_started", None, "c1", "Hello")
    news.started(asked)
    untitled = session(version=2).model_copy(update={"title": DEFAULT_TITLE})
    changed = news.of(word("session_updated", untitled))
    assert (answering(changed), title(changed)) == ("c1", "Hello")
    assert news.begun(asked, session()) is None
    ended = news.of(turn("session_updated", session(version=2, minutes=1), "c1"))
    assert (answering(ended), title(ended)) == (None, "2.1")


def test_a_first_turn_gives_its_title_before_it_is_stored() -> None:
    untitled = session().model_copy(update={"title": DEFAULT_TITLE})
    begun = begin(ListNews(), turn("turn_started", None, "c1", "Hello"), untitled)
    assert title(begun) == "Hello"
    titled = begin(ListNews(), turn("turn_started", None, "c1", "Hello"), session())
    assert title(titled) == "1.0"


def test_a_beginning_that_was_read_after_the_end_is_no_news() -> None:
    news = ListNews()
    news.of(turn("session_updated", session(minutes=1), "c1"))
    assert begin(news, turn("turn_started", None, "c1"), session(minutes=1)) is None
    assert answering(begin(news, turn("turn_started", None, "c2"), session(minutes=1))) == "c2"


def test_an_end_whose_session_was_read_too_early_ends_what_is_shown() -> None:
    news = ListNews()
    begin(news, turn("turn_started", None, "c1"), session())
    news.of(word("session_updated", session(version=3, minutes=5)))
    ended = news.of(turn("session_updated", session(version=2, minutes=4), "c1"))
    assert (answering(ended), title(ended)) == (None, "3.5")
    assert news.of(turn("session_updated", session(version=2, minutes=4), "c0")) is None


def test_what_is_deleted_is_not_answering() -> None:
    news = ListNews()
    begin(news, turn("turn_started", None, "c1"), session())
    news.of(word("session_deleted", None))
    assert news.of(turn("session_updated", session(minutes=9), "c1")) is None
    assert begin(news, turn("turn_started", None, "c2"), session(minutes=9)) is None


def test_only_so_many_are_known_to_answer() -> None:
    news = ListNews()
    begin(news, turn("turn_started", None, "c1"), session())
    for number in range(32):
        other = session(new_session_id())
        started = turn("turn_started", None, f"o{number}").model_copy(
            update={"session_id": other.id}
        )
        assert answering(begin(news, started, other))
    assert answering(news.of(word("session_updated", session(version=2)))) is None


def test_a_word_that_comes_twice_is_told_once() -> None:
    news = ListNews()
    made = word("session_created", session())
    assert [title(news.of(made)), news.of(made)] == ["1.0", None]
    ended = turn("session_updated", session(minutes=1), "c1")
    assert [title(news.of(ended)), news.of(ended)] == ["1.1", None]
    gone = word("session_deleted", None)
    assert [news.of(gone) is None, news.of(gone) is None] == [False, True]
    assert title(news.of(word("session_created", session(minutes=1)))) == "1.1"


def test_an_end_that_is_told_again_with_its_title_is_news() -> None:
    news = ListNews()
    untitled = session(minutes=1).model_copy(update={"title": DEFAULT_TITLE})
    assert title(news.of(turn("session_updated", untitled, "c1"))) == DEFAULT_TITLE
    assert title(news.of(turn("session_updated", session(minutes=1), "c1"))) == "1.1"
