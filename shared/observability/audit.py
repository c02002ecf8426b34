"""The audit: one JSON line for each administrative act and refusal, always with the same fields.

It has a logger of its own, which no log level silences. Ids and outcomes only: never a token, a
text, a title or a name that somebody made up; ``docs/security.md`` lists every action.
"""

import logging
from contextvars import ContextVar
from typing import Final

import structlog

from shared.contracts.audit import Actor
from shared.contracts.ids import UserId

LOGGER: Final = "parley.audit"
DONE: Final = "done"

ACTOR: ContextVar[Actor | None] = ContextVar("actor", default=None)
"""Bound once, where a request or a question comes in."""

log = structlog.stdlib.get_logger(LOGGER)


def unsilence() -> None:
    """Let the audit through whatever the level of all other logs is."""
    logging.getLogger(LOGGER).setLevel(logging.INFO)


def record(
    action: str,
    *,
    actor: Actor | None,
    target: str | None,
    outcome: str = DONE,
    user: UserId | None = None,
    count: int = 1,
) -> None:
    """Write one event.

    Args:
        action: What, as ``noun.verb``.
        actor: Who; ``None`` where that is not known.
        target: What it was done to, as ``kind:id``.
        outcome: ``done``, or the code of the error that it ended with.
        user: Whose things it is about, where that is not the actor.
        count: Of how many such events this is the word.
    """
    who = actor or Actor(via="service")
    log.info(
        "audit",
        action=action,
        actor=who.user,
        via=who.via,
        key_id=who.key_id,
        address=who.address,
        # Said as the actor's own: nothing else that is bound may take its place.
        request_id=who.request_id,
        sent_request_id=who.sent_request_id,
        object=target,
        user=user,
        outcome=outcome,
        count=count,
    )
