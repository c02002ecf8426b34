"""What gateways say of the list is looked at before it is told; what history says is so."""

import asyncio

import pytest

from services.api.background import Background
from services.api.schemas.sockets import ServerMessage
from services.api.sockets.list_feed import ListFeed
from shared.contracts.history import Session
from shared.contracts.ids import SessionId
from shared.contracts.live import HISTORY, LiveEvent
from shared.errors import HistoryUnavailable, SessionNotFound
from tests.support.waiting import eventually
from tests.unit.api.test_list_news import HERE, session, word

GONE = SessionNotFound("This session does not exist.")


class Scene:
    """A socket of the list, and a history that answers when a test lets it."""

    def __init__(self, *, answers: Session | Exception) -> None:
        self.told: list[str] = []
        self.answering: str | None = None
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.answers = answers
        self.background = Background()
        self.feed = ListFeed(self._read, self.background, self._tell)

    def hear(self, kind: str, about: Session | None = None, *, origin: str = "gw") -> None:
        event: LiveEvent = word(kind, about)
        self.feed.heard(event.model_copy(update={"origin": origin}))

    async def _read(self, session_id: SessionId) -> Session:
        assert session_id == HERE
        self.asked.set()
        await self.go.wait()
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers

    def _tell(self, message: ServerMessage) -> None:
        said = message.model_dump()
        self.told.append(said["type"])
        self.answering = said.get("answering")


def test_what_history_says_is_deleted_is_told_at_once() -> None:
    scene = Scene(answers=session())
    scene.hear("session_deleted", origin=HISTORY)
    assert scene.told == ["session_deleted"]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (GONE, ["session_updated", "session_deleted"]),
        (session(), ["session_updated"]),
        (HistoryUnavailable("away"), ["session_updated"]),
    ],
    ids=["it is deleted", "it is back", "nobody knows"],
)
async def test_what_is_deleted_once_more_is_told_if_it_is_so(
    answers: Session | Exception, told: list[str]
) -> None:
    scene = Scene(answers=answers)
    scene.hear("session_updated", session())
    scene.hear("session_deleted")
    scene.go.set()
    await scene.background.aclose(1)
    assert scene.told == told


async def test_what_comes_back_while_it_is_looked_at_is_not_told_as_deleted() -> None:
    scene = Scene(answers=GONE)
    scene.hear("session_deleted", origin=HISTORY)
    scene.hear("session_deleted")
    await eventually(scene.asked.is_set)
    scene.hear("session_created", session(version=2), origin=HISTORY)
    scene.go.set()
    await scene.background.aclose(1)
    assert scene.told == ["session_deleted", "session_created"]


async def test_what_changes_while_a_beginning_is_looked_at_is_told_as_answering() -> None:
    scene = Scene(answers=session())
    event = word("turn_started", None).model_copy(update={"completion_id": "c1"})
    scene.feed.heard(event)
    scene.hear("session_updated", session(version=2), origin=HISTORY)
    assert scene.answering == "c1"
    scene.go.set()
    await scene.background.aclose(1)
    assert (scene.told, scene.answering) == (["session_updated"], "c1")
