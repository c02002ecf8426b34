"""Settings, titles, versions, and coming back."""

import asyncio

import pytest

from services.history.records import Change, SessionRecord
from shared.contracts.history import (
    DeleteSession,
    ListSessions,
    RestoreSession,
    Session,
    SessionReply,
    SessionSettings,
    UpdateSession,
)
from shared.contracts.ids import SessionId, UserId
from shared.errors import HistoryUnavailable, InvalidRequest, SessionNotFound, VersionConflict
from tests.fakes.history.conversation import OTHER, SESSION, USER, Turn
from tests.fakes.history.memory_store import MemoryStore
from tests.unit.history.scene import Scene
from tests.unit.history.test_recorder import record

COMMAND = UpdateSession(user_id=USER, session_id=SESSION)


class _Contested(MemoryStore):
    """Somebody else changes the session just before, ``rivals`` times."""

    rivals = 0

    async def change(
        self, user_id: UserId, session_id: SessionId, version: int, change: Change
    ) -> SessionRecord | None:
        if self.rivals:
            self.rivals -= 1
            await super().change(user_id, session_id, version, Change(0, "Rival"))
        return await super().change(user_id, session_id, version, change)


def _session(reply: SessionReply) -> Session:
    assert reply.session is not None
    return reply.session


async def _update(scene: Scene, **fields: object) -> Session:
    return _session(await scene.changing.update(COMMAND.model_copy(update=fields)))


async def test_settings_given_at_the_beginning_are_there() -> None:
    scene = Scene()
    await scene.begin(model="demo", temperature=0.5, tools=["search"], preset_id="p")

    shown = (await scene.detail()).session

    assert shown is not None
    assert (shown.model, shown.temperature, shown.tools) == ("demo", 0.5, ["search"])
    assert (shown.preset_id, shown.version, shown.active_leaf) == ("p", 1, None)


async def test_what_is_absent_stays_and_what_is_cleared_goes() -> None:
    scene = Scene()
    await scene.begin(model="demo", temperature=0.5, title="Mine")

    changed = await _update(
        scene, settings=SessionSettings(top_p=0.9), cleared=["temperature"], version=1
    )

    assert (changed.model, changed.temperature, changed.top_p) == ("demo", None, 0.9)
    assert (changed.title, changed.version) == ("Mine", 2)


async def test_a_change_of_a_version_that_is_gone_is_a_conflict() -> None:
    scene = Scene()
    await scene.begin()
    await _update(scene, title="First", version=1)

    with pytest.raises(VersionConflict, match="session has version 2, not 1"):
        await _update(scene, title="Late", version=1)

    assert (await _update(scene)).title == "First"


async def test_changes_without_a_version_are_all_made() -> None:
    scene = Scene()
    await scene.begin()

    await asyncio.gather(*(_update(scene, title=f"Title {number}") for number in range(10)))

    assert (await _update(scene)).version == 11


async def test_nothing_to_change_changes_nothing() -> None:
    scene = Scene()
    await scene.begin(title="Mine")
    before = scene.store.everything()

    assert (await _update(scene, settings=SessionSettings())).title == "Mine"

    assert scene.store.everything() == before


async def test_what_is_so_already_is_no_change() -> None:
    scene = Scene()
    await scene.begin(title="Mine", model="demo", temperature=0.5)
    before = scene.store.everything()

    same = SessionSettings(model="demo", temperature=0.5)
    wanted = {"title": "Mine", "settings": same, "cleared": ["top_p"], "version": 1}
    again = await scene.changing.update(COMMAND.model_copy(update=wanted))

    assert (_session(again).version, again.unchanged) == (1, True)
    assert scene.store.everything() == before
    assert (await _update(scene, settings=same, cleared=["tools"], title="Yours")).version == 2


@pytest.mark.parametrize("name", ["title", "turn", "leaf", "$set", ""])
async def test_only_settings_can_be_cleared(name: str) -> None:
    scene = Scene()
    await scene.begin()

    with pytest.raises(InvalidRequest):
        await _update(scene, cleared=[name])


async def test_a_setting_cannot_be_set_and_cleared_at_once() -> None:
    scene = Scene()
    await scene.begin()

    with pytest.raises(InvalidRequest, match="model"):
        await _update(scene, settings=SessionSettings(model="demo"), cleared=["model"])


async def test_a_change_that_others_forestall_between_read_and_write_is_made_again() -> None:
    scene = Scene(store := _Contested())
    await scene.begin()

    store.rivals = 3
    assert (await _update(scene, title="Mine")).version == 5
    store.rivals = 1
    with pytest.raises(VersionConflict):
        await _update(scene, title="Yours", version=5)
    store.rivals = 1000
    with pytest.raises(HistoryUnavailable):
        await _update(scene, title="Mine")


async def test_a_restored_session_has_what_was_stored_meanwhile() -> None:
    scene, turn = Scene(), Turn()
    await scene.begin()
    await record(scene.store, turn.accepted())
    gone = await scene.sessions.delete(DeleteSession(user_id=USER, session_id=SESSION))
    assert _session(gone).deleted_at is not None
    await record(scene.store, turn.completed())

    deleted = await scene.sessions.page(ListSessions(user_id=USER, deleted=True))
    assert [session.deleted_at for session in deleted.sessions] == [_session(gone).deleted_at]
    back = await scene.sessions.restore(RestoreSession(user_id=USER, session_id=SESSION))

    assert (_session(back).deleted_at, _session(back).message_count) == (None, 2)
    assert _session(back).active_leaf == turn.answer
    assert len((await scene.detail()).messages) == 2
    again = await scene.sessions.restore(RestoreSession(user_id=USER, session_id=SESSION))
    assert _session(again) == _session(back)
    assert (back.unchanged, again.unchanged) == (None, True)


async def test_a_foreign_or_unknown_session_is_not_restored() -> None:
    scene = Scene()
    await scene.begin()

    with pytest.raises(SessionNotFound):
        await scene.sessions.restore(RestoreSession(user_id=OTHER, session_id=SESSION))
    with pytest.raises(SessionNotFound):
        await scene.sessions.restore(RestoreSession(user_id=USER, session_id=SessionId("0" * 36)))
