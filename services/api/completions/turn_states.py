"""What the entry of a session's turn says, and for how long it may be believed."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from services.api.completions.orphans import OWED, Orphans
from services.api.ports.broker import Journal
from services.api.ports.sessions import Held, TurnState
from shared.contracts.chat import CompletionStatus
from shared.contracts.ids import SessionId, UserId
from shared.errors import SessionBusy, SessionNotFound

_DELETING: Final = 15.0
"""Seconds that the deletion of a session takes at most, from its mark on."""


@dataclass
class Lease:
    """The right to run a turn; ``previous`` is what the session stood at before."""

    session_id: SessionId
    state: TurnState
    revision: int
    previous: TurnState | None
    released: bool = False
    guard: asyncio.Lock = field(default_factory=asyncio.Lock)


async def settled(held: Held, journal: Journal, orphans: Orphans | None) -> TurnState:
    """How a session stands that another gateway holds, or held: its completion may have ended.

    What nobody renews, ``orphans`` ends if nobody has it.

    Raises:
        BrokerUnavailable: no answer.
    """
    state, running = held.state, held.state.running
    if running is None:
        return state
    end = await journal.completed(running)
    if end is None and held.age >= OWED:
        accepted = await journal.accepted(running)
        if accepted is None:
            return state.model_copy(update={"running": None})
        end = await orphans.end(accepted) if orphans is not None else None
    if end is None:
        return state
    last = state.last if end.status is CompletionStatus.REJECTED else running
    return state.model_copy(update={"running": None, "last": last})


def must_exist(held: Held | None, user_id: UserId) -> None:
    """Nothing begins in a session that its user is deleting.

    An old mark may be of a deletion that came to nothing, or was undone: history has been asked.

    Raises:
        SessionNotFound: it is being deleted.
    """
    if held is None or not held.state.deleted or held.age >= _DELETING:
        return
    if held.state.user_id == user_id:
        raise SessionNotFound("This session does not exist.", param="sessionId")


def marked_as(former: TurnState, state: TurnState) -> TurnState:
    """``state``, deleted if ``former`` was: a turn that ran on must not bring its session back."""
    if not former.deleted:
        return state
    return state.model_copy(update={"deleted": True, "head": None})


def busy() -> SessionBusy:
    """The one sentence for it."""
    message = "This session is answering another message; wait for it or stop it."
    return SessionBusy(message, param="sessionId")
