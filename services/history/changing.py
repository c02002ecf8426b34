"""Change what people say about a session: its title and its settings."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from services.history.freshness import Freshness
from services.history.news import News
from services.history.ports import SessionStore, TurnStore
from services.history.records import SETTINGS, Change, SessionRecord, to_milliseconds
from services.history.sessions import conflict, found
from services.history.words import words_of
from shared.contracts.history import SessionReply, UpdateSession
from shared.errors import HistoryUnavailable, InvalidRequest

_ATTEMPTS: Final = 20
"""How often somebody else may be faster before we give up."""


class Changing:
    """Every change raises the version by one: two people never overwrite each other unseen."""

    def __init__(
        self,
        store: SessionStore,
        turns: TurnStore,
        freshness: Freshness,
        news: News,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._turns = turns
        self._freshness = freshness
        self._news = news
        self._now = now

    async def update(self, command: UpdateSession) -> SessionReply:
        """Change title and settings; ``updated_at`` moves. Nothing to change changes nothing.

        The reply says so. A title that is given here stays, whatever messages say.

        Raises:
            SessionNotFound: see ``found``.
            VersionConflict: the session has another version than the command names.
            InvalidRequest: ``cleared`` names no setting, or one that is set as well.
            HistoryUnavailable: the database is away, or others change it all the time.
        """
        settings = _settings(command)
        # The answer shows the session whole, and is announced: with the turn that has just ended.
        if command.after_completion is not None:
            await self._freshness.completion(command.after_completion)
        for _ in range(_ATTEMPTS):
            session = found(await self._store.get(command.user_id, command.session_id))
            if command.version not in (None, session.version):
                raise conflict(session, command.version)
            if _is_so(session, command.title, {**dict.fromkeys(command.cleared), **settings}):
                return SessionReply(session=session.to_session(), unchanged=True)
            changed = await self._change(session, command, settings)
            if changed is not None:
                await self._news.updated(changed.user_id, changed.to_session())
                return SessionReply(session=changed.to_session())
        raise HistoryUnavailable("Others change this session all the time; try again.")

    async def _change(
        self, session: SessionRecord, command: UpdateSession, settings: dict[str, object]
    ) -> SessionRecord | None:
        if command.title is not None:
            # Before the title: one that is not found by its words would stay so.
            await self._turns.add_terms(
                session.user_id, session.id, words_of(command.title), said=False
            )
        # Moves even where a worker's clock is ahead of this one.
        moved = max(to_milliseconds(self._now()), session.updated_at + 1)
        change = Change(moved, command.title, settings, command.cleared)
        return await self._store.change(session.user_id, session.id, session.version, change)


def _is_so(session: SessionRecord, title: str | None, wanted: Mapping[str, object]) -> bool:
    # A title that a message has given is not a person's, though it may read alike.
    kept = title is None or title == session.title
    return kept and all(getattr(session, name) == value for name, value in wanted.items())


def _settings(command: UpdateSession) -> dict[str, object]:
    settings = command.settings.model_dump(exclude_none=True) if command.settings else {}
    for name in command.cleared:
        if name not in SETTINGS:
            raise InvalidRequest("Only settings can be cleared.", param="cleared")
        if name in settings:
            message = f"The setting {name} is set and cleared at once."
            raise InvalidRequest(message, param="cleared")
    return settings
