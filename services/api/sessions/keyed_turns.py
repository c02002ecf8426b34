"""Turns of a session under an idempotency key: planned once, followed by who comes again."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from services.api.completions.idempotency import Claim, Idempotency, Standing
from services.api.completions.orders import Order
from services.api.ports.broker import Journal
from services.api.sessions.turn_messages import question_of, question_of_turn
from shared.contracts.events import CompletionAccepted
from shared.contracts.history import StoredMessage
from shared.contracts.ids import UserId
from shared.errors import BrokerUnavailable, ChatError, SessionBusy

Plan = Callable[[], Awaitable[Order]]


def digest_of_turn(method: str, path: str, body: str) -> str:
    """What equal requests have in common: the same body at another address is another request."""
    return hashlib.sha256(f"{method} {path.rstrip('/')} {body}".encode()).hexdigest()


class KeyedTurns:
    """The use case: from a claim to the order that its answer is told by."""

    def __init__(self, idempotency: Idempotency, journal: Journal) -> None:
        self._idempotency = idempotency
        self._journal = journal

    async def order(
        self, user_id: UserId, claim: Claim, plan: Plan
    ) -> tuple[Claim, Order, StoredMessage | None]:
        """The claim as it stands now, its order, and the question that the turn brings.

        Where the turn is ours, it is planned; where it runs or has ended, nothing is, and the
        order says only what its answer is told by.

        Raises:
            ChatError: it cannot be planned, and the key is free again.
        """
        if claim.standing is Standing.OURS:
            try:
                order = replace(await plan(), keyed=True, created_at=claim.created_at)
            except BrokerUnavailable:
                raise
            except ChatError as error:
                begun = await self._begun(claim) if isinstance(error, SessionBusy) else None
                if begun is None:
                    await self._idempotency.release(claim)
                    raise
                # The session is busy with this very turn: who had the key was slow, not dead.
                claim = replace(claim, standing=Standing.RUNNING, accepted=begun)
            else:
                return claim, order, question_of(order)
        accepted = claim.accepted or await self._begun(claim)
        return claim, _told(user_id, claim, accepted), _question(accepted)

    async def _begun(self, claim: Claim) -> CompletionAccepted | None:
        return await self._journal.accepted(claim.completion_id)


def _told(user_id: UserId, claim: Claim, accepted: CompletionAccepted | None) -> Order:
    known = accepted or claim.end
    if known is None:
        raise BrokerUnavailable("The message broker has lost this completion; try again.")
    return Order(
        completion_id=claim.completion_id,
        created_at=claim.created_at,
        user_id=user_id,
        model=known.model,
        messages=(),
        unavailable_tools=(accepted.unavailable_tools or ()) if accepted is not None else (),
        keyed=True,
    )


def _question(accepted: CompletionAccepted | None) -> StoredMessage | None:
    return question_of_turn(accepted) if accepted is not None else None
