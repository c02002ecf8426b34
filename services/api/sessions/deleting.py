"""Delete a session, with the turn that runs in it, and bring it back."""

import contextlib

import structlog

from services.api.background import Background
from services.api.completions.announcing import Announcing
from services.api.completions.cancellations import Cancellations
from services.api.completions.turn_lease import TurnLeases
from services.api.ports.sessions import History
from services.api.sessions.sessions import Sessions, whole
from shared.contracts import session_questions as asked
from shared.contracts.history import DeleteSession, GetSession, RestoreSession, Session
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.errors import BrokerUnavailable, SessionNotFound, VersionConflict

log = structlog.stdlib.get_logger(__name__)


class Deleting:
    """The use case; every step may be repeated."""

    def __init__(
        self,
        sessions: Sessions,
        history: History,
        leases: TurnLeases,
        cancellations: Cancellations,
        background: Background,
        announcing: Announcing,
    ) -> None:
        self._sessions = sessions
        self._history = history
        self._leases = leases
        self._cancellations = cancellations
        self._background = background
        self._announcing = announcing

    async def restore(self, user_id: UserId, session_id: SessionId) -> Session:
        """Bring a deleted one back; of one that is there nobody hears anything new."""
        command = RestoreSession(user_id=user_id, session_id=session_id)
        restored = whole(await self._history.ask(asked.RESTORE_SESSION, command))
        with contextlib.suppress(BrokerUnavailable):  # In a moment history's word alone counts.
            await self._leases.mark(session_id, user_id, deleted=False)
        return restored

    async def delete(
        self, user_id: UserId, session_id: SessionId, version: int | None = None
    ) -> None:
        """Remove it from sight, and stop the turn that is running in it.

        May be asked for again: what was lost on the way, a reply or this process, is done then.

        Raises:
            VersionConflict: the session has another version than this one; nothing was done.
            BrokerUnavailable: perhaps nothing was done.
        """
        session = await self._undeleted(user_id, session_id)
        if session is not None:
            _check_version(session, version)
            await self._hide(user_id, session_id, version)
        else:
            self._announcing.deleted(user_id, session_id)
        held = await self._leases.look(session_id)
        if held is not None and held.state.user_id == user_id and held.state.running is not None:
            stop = self._stop(held.state.running)
            self._background.spawn(stop, "cancel-deleted")

    async def _hide(self, user_id: UserId, session_id: SessionId, version: int | None) -> None:
        # Before anything else: whoever takes a turn or opens a socket from now on sees it.
        await self._leases.mark(session_id, user_id, deleted=True)
        command = DeleteSession(user_id=user_id, session_id=session_id, version=version)
        try:
            await self._history.delete_session(command)
        except SessionNotFound:
            return  # Somebody else was quicker.
        except VersionConflict:
            # Somebody changed it since it was looked at: it stays, and its turns go on.
            await self._leases.mark(session_id, user_id, deleted=False)
            raise

    async def _undeleted(self, user_id: UserId, session_id: SessionId) -> Session | None:
        try:
            query = GetSession(user_id=user_id, session_id=session_id, limit=1)
            return (await self._sessions.page_of(query)).session
        except SessionNotFound:
            held = await self._leases.look(session_id)
            if held is not None and held.state.deleted and held.state.user_id == user_id:
                return None
            raise

    async def _stop(self, completion_id: CompletionId) -> None:
        try:
            await self._cancellations.stop(completion_id)
        except BrokerUnavailable:
            log.warning("deleted_turn_goes_on", completion_id=completion_id)


def _check_version(session: Session, wanted: int | None) -> None:
    if wanted not in (None, session.version):
        message = f"This session has version {session.version}, not {wanted}."
        raise VersionConflict(message, param="If-Match")
