"""Everything of one user is removed: what history is asked, and what it tells all gateways.

The word ``purge.<digest>`` in the bucket ``keys`` stands from the beginning to the end: as long as
it does, gateways let this user in nowhere, so that nothing new can come beside what goes.
"""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import Field

from shared.contracts.history import Reply
from shared.contracts.ids import UserId
from shared.contracts.questions import Question
from shared.contracts.wire import WireModel

WORD: Final = "purge."
"""What stands before the digest of a user in the bucket ``keys``."""
UNDER_WAY: Final = b"1"
OVER: Final = b"0"
"""Said for an hour, so that a gateway that has missed a message reads it."""
_LONGEST: Final = 512


def user_digest(user_id: str) -> str:
    """What is kept of a user's name when everything of theirs is gone."""
    return hashlib.sha256(f"purge\0{user_id}".encode("utf-8", "surrogatepass")).hexdigest()


class OwnedEntry(WireModel):
    """What entries of the buckets ``turns`` and ``idempotency`` that name their user share."""

    user_id: UserId


class UserData(WireModel):
    """How many documents there are."""

    sessions: int = 0
    messages: int = 0
    search_terms: int = 0
    usage: int = 0
    presets: int = 0
    preferences: int = 0
    completions: int = 0
    """Marks of completions: ids and times."""
    keys: int = 0
    """API keys, revoked ones among them."""


class PurgeState(StrEnum):
    """How far it is."""

    NONE = "none"
    """Nobody has asked for it in the last 30 days."""
    REMOVING = "removing"
    """The first pass goes on."""
    SETTLING = "settling"
    """It is all gone; a second pass, at ``settles_at``, removes what was under way meanwhile."""
    PURGED = "purged"


class UserDataQuery(WireModel):
    """How much there is of one user, and how far its removal is."""

    user_id: UserId = Field(min_length=1, max_length=_LONGEST)
    counted: bool = True
    """Whether it is to be counted: of a removal that takes long, one asks often how far it is."""


class PurgeUser(WireModel):
    """Remove everything of this user; while that goes on, asking again changes nothing."""

    user_id: UserId = Field(min_length=1, max_length=_LONGEST)


class UserDataReply(Reply):
    """As it is now."""

    data: UserData | None = None
    """Absent where nobody has counted: it was not asked for, or there is too much."""
    found: UserData | None = None
    """What there was when the removal began; absent until it has been counted."""
    state: PurgeState = PurgeState.NONE
    begun_at: datetime | None = None
    settles_at: datetime | None = None
    """From then on the second pass may run; the user is let in again when it has."""


USER_DATA: Final = Question("user_data", UserDataQuery, UserDataReply, patient=True)
PURGE_USER: Final = Question("purge_user", PurgeUser, UserDataReply, patient=True, audited=True)
