"""One running turn per session, also while a turn goes on whose gateway has died.

An entry names the completion that holds its session. That it has ended is for the journal to say,
whoever gave it its end: its gateway may have died a moment ago. That it never began is believed
only when nobody renews the entry.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import structlog

from services.api.completions.orphans import Orphans
from services.api.completions.turn_states import busy, marked_as, must_exist, settled
from services.api.forever import forever
from services.api.ports.broker import Journal
from services.api.ports.sessions import Held, Turns, TurnState
from shared.contracts.ids import CompletionId, SessionId, UserId
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)

RENEW_EVERY: Final = 5.0
_MARK_TRIES: Final = 8
_RELEASE_TRIES: Final = 10
_PAUSE: Final = 0.5


@dataclass
class Lease:
    """The right to run a turn; ``previous`` is what the session stood at before."""

    session_id: SessionId
    state: TurnState
    revision: int
    previous: TurnState | None
    released: bool = False
    guard: asyncio.Lock = field(default_factory=asyncio.Lock)


class TurnLeases:
    """Leases of this gateway; ``keep`` renews them all in one task."""

    def __init__(self, turns: Turns, journal: Journal, orphans: Orphans | None = None) -> None:
        """None is held yet.

        Args:
            turns: The entries of sessions.
            journal: What was taken on, and how it ended.
            orphans: Ends what nobody has; without it that is left to history's sweeper.
        """
        self._turns = turns
        self._journal = journal
        self._orphans = orphans
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
        lease = Lease(session_id, state, revision, previous)
        self._leases[completion_id] = lease
        return lease

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
        lease = Lease(session_id, held.state, held.revision, None)
        self._leases[completion_id] = lease
        return lease

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
            if lease.released:
                return False
            state = marked_as(lease.state, state)
            revision = await self._turns.set(lease.session_id, state, lease.revision)
            if revision is None:
                held = await self._turns.get(lease.session_id)
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
            if lease.released or lease.state.running not in self._leases:
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
        if held is None:
            return await self._turns.set(lease.session_id, lease.state, None)
        if held.state.running == lease.state.running:
            lease.state = marked_as(held.state, lease.state)
            return await self._turns.set(lease.session_id, lease.state, held.revision)
        return None
