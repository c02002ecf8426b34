"""One running turn per session, also while a turn goes on whose gateway has died.

An entry names the completion that holds its session. That it has ended is for the journal to say,
whoever gave it its end: its gateway may have died a moment ago. That it never began is believed
only when nobody renews the entry.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from services.api.completions.orphans import Orphans
from services.api.completions.turn_states import Lease, busy, marked_as, must_exist, settled
from services.api.forever import forever
from services.api.ports.broker import Journal
from services.api.ports.sessions import Held, Turns, TurnState
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.contracts.user_purge import user_digest
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

RENEW_EVERY: Final = 5.0
_MARK_TRIES: Final = 8
_RELEASE_TRIES: Final = 10
_PAUSE: Final = 0.5


class TurnLeases:
    """Leases of this gateway; ``keep`` renews them all in one task."""

    def __init__(
        self,
        turns: Turns,
        journal: Journal,
        orphans: Orphans | None = None,
        *,
        gone: Callable[[UserId], bool] = lambda _user_id: False,
    ) -> None:
        """None is held yet.

        Args:
            turns: The entries of sessions.
            journal: What was taken on, and how it ended.
            orphans: Ends what nobody has; without it that is left to history's sweeper.
            gone: Whether everything of a user is being removed: nothing is written for them.
        """
        self._turns = turns
        self._journal = journal
        self._orphans = orphans
        self._gone = gone
        self._leases: dict[CompletionId, Lease] = {}

    async def look(self, session_id: SessionId) -> Held | None:
        """How the session stands.

        Raises:
            BrokerUnavailable: no answer.
        """
        held = await self._turns.get(session_id)
        if held is None or held.state.running in (None, *self._leases):
            return held
        return held._replace(state=await settled(held, self._journal, self._orphans))

    async def take(
        self,
        session_id: SessionId,
        user_id: UserId,
        completion_id: CompletionId,
        seen: Held | None,
    ) -> Lease:
        """Take the session that stood at ``seen``: whoever changed it since has won.

        Raises:
            SessionBusy: a turn is running, or has begun or ended since ``seen``.
            SessionNotFound: its user has deleted the session.
            BrokerUnavailable: no answer.
        """
        previous = seen.state if seen is not None else None
        must_exist(seen, user_id)
        if previous is not None and previous.running is not None:
            raise busy()
        state = TurnState(
            user_id=user_id,
            running=completion_id,
            last=previous.last if previous is not None else None,
        )
        revision = await self._turns.set(
            session_id, state, seen.revision if seen is not None else None
        )
        if revision is None:
            must_exist(await self._turns.get(session_id), user_id)
            raise busy()
        return self._held(Lease(session_id, state, revision, previous))

    async def adopt(
        self, session_id: SessionId, user_id: UserId, completion_id: CompletionId
    ) -> Lease | None:
        """Renew from now on what another gateway has taken, which may be gone.

        If it is not, both renew it, and the first to see the end releases it.

        Raises:
            BrokerUnavailable: no answer.
        """
        if completion_id in self._leases:
            return None
        held = await self._turns.get(session_id)
        if held is not None and held.state.running != completion_id:
            return None
        if held is None:
            if await self._journal.completed(completion_id) is not None:
                # Old: others may have come after it.
                return None
            # It was lost; whoever comes first has it.
            state = TurnState(user_id=user_id, running=completion_id)
            revision = await self._turns.set(session_id, state, None)
            if revision is None:
                return None
            held = Held(state, revision)
        if completion_id in self._leases:
            return None
        return self._held(Lease(session_id, held.state, held.revision, None))

    def _held(self, lease: Lease) -> Lease:
        # If its user has gone since it was asked for, what was written goes with the rest.
        if lease.state.running is not None and not self._is_over(lease):
            self._leases[lease.state.running] = lease
        return lease

    def _is_over(self, lease: Lease) -> bool:
        if not lease.released and self._gone(lease.state.user_id):
            lease.released = True
            self.forget(lease)
        return lease.released

    def user_gone(self, digest: str) -> None:
        """Everything of this user is being removed: write no entries of theirs any more.

        For good: a turn may end when it is over, and would bring its session's place back.
        """
        for lease in list(self._leases.values()):
            if user_digest(lease.state.user_id) == digest:
                lease.released = True
                self.forget(lease)

    async def mark(self, session_id: SessionId, user_id: UserId, *, deleted: bool) -> TurnState:
        """Say that the user's session is deleted, or that it is not; what runs in it goes on.

        Raises:
            BrokerUnavailable: no answer.
        """
        for _ in range(_MARK_TRIES):
            held = await self._turns.get(session_id)
            own = held is not None and held.state.user_id == user_id
            state = held.state if held is not None and own else TurnState(user_id=user_id)
            if not deleted and not state.deleted:
                return state
            state = state.model_copy(update={"deleted": deleted, "head": None})
            revision = held.revision if held is not None else None
            if await self._turns.set(session_id, state, revision) is not None:
                return state
        raise BrokerUnavailable("The session changes too quickly; try again.")

    def forget(self, lease: Lease) -> None:
        """Renew it no more; it runs out by itself."""
        self._leases.pop(lease.state.running or CompletionId(""), None)

    async def release(self, lease: Lease, state: TurnState) -> bool:
        """Let the session go, standing at ``state``; a lease that was lost is left alone.

        Returns:
            Whether this has changed how the session stands.

        Raises:
            BrokerUnavailable: no answer; the lease is no longer renewed and runs out.
        """
        self._leases.pop(lease.state.running or CompletionId(""), None)
        async with lease.guard:
            if self._is_over(lease):
                return False
            state = marked_as(lease.state, state)
            revision = await self._turns.set(lease.session_id, state, lease.revision)
            if revision is None:
                held = await self._turns.get(lease.session_id)
                if self._is_over(lease):
                    return False
                if held is None:
                    revision = await self._turns.set(lease.session_id, state, None)
                elif held.state.running == lease.state.running:
                    state = marked_as(held.state, state)
                    revision = await self._turns.set(lease.session_id, state, held.revision)
            lease.released = True
            return revision is not None

    async def release_patiently(self, lease: Lease, state: TurnState) -> bool:
        """``release`` as soon as the broker is there, for as long as the lease would live."""
        for _ in range(_RELEASE_TRIES):
            try:
                return await self.release(lease, state)
            except BrokerUnavailable:
                await asyncio.sleep(_PAUSE)
        log.warning("turn_not_released", session_id=lease.session_id)
        return False

    async def keep(self) -> None:
        """Renew all leases every few seconds, for ever; one that is lost ends no answer."""
        await asyncio.sleep(RENEW_EVERY)
        await forever(self.renew, RENEW_EVERY, "renew-turns")

    async def renew(self) -> None:
        """Renew all leases once."""
        await asyncio.gather(*(self._renew(lease) for lease in list(self._leases.values())))

    async def _renew(self, lease: Lease) -> None:
        async with lease.guard:
            if self._is_over(lease) or lease.state.running not in self._leases:
                return
            try:
                revision = await self._turns.set(lease.session_id, lease.state, lease.revision)
                if revision is None:
                    # It ran out while the broker was away, or somebody else holds it.
                    revision = await self._retake(lease)
            except BrokerUnavailable:
                log.info("turn_not_renewed", session_id=lease.session_id)
                return
            if revision is None:
                log.warning("turn_lost", session_id=lease.session_id)
                self._leases.pop(lease.state.running, None)
            else:
                lease.revision = revision

    async def _retake(self, lease: Lease) -> int | None:
        held = await self._turns.get(lease.session_id)
        if self._is_over(lease):
            return None
        if held is None:
            return await self._turns.set(lease.session_id, lease.state, None)
        if held.state.running == lease.state.running:
            lease.state = marked_as(held.state, lease.state)
            return await self._turns.set(lease.session_id, lease.state, held.revision)
        return None
