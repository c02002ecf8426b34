"""What a user has used, added up by history."""

from datetime import date
from typing import Final, Literal

from pydantic import Field

from shared.contracts.history import Reply
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.questions import Question
from shared.contracts.wire import WireModel


class UsageQuery(WireModel):
    """Days are UTC, both included."""

    user_id: UserId
    first: date
    last: date
    group: Literal["day", "model"] = "day"


class UsageRow(WireModel):
    """One day or one model."""

    key: str
    """``YYYY-MM-DD`` or the model's name."""
    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: int = 0
    """How many of the requests have estimated counts."""
    first_token_ms_mean: float | None = None
    first_token_ms_p95: float | None = None
    models: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Prompt and completion tokens by model: what money is reckoned from."""


class UsageReply(Reply):
    """Rows in order of their keys; ``whole`` adds all up."""

    rows: list[UsageRow] = Field(default_factory=list)
    whole: UsageRow | None = None


class CountsQuery(WireModel):
    """How much a user has."""

    user_id: UserId


class Counts(Reply):
    """Of what is not deleted."""

    sessions: int = 0
    messages: int = 0


class SpentQuery(WireModel):
    """What a user, or one key of a user's, has used in these days: UTC, both included.

    Unlike a report it is never of what happens to be stored: every end that was published before
    the question is in it, or there is no answer.
    """

    user_id: UserId
    key_id: str | None = None
    """Only what was asked for with this key."""
    first: date
    last: date
    open: list[CompletionId] = Field(default_factory=list)
    """Completions that the asker counts itself when they end, unless they are in the sum."""


class Spent(Reply):
    """A sum, and what must not be added to it again."""

    tokens: int = 0
    models: dict[str, tuple[int, int]] = Field(default_factory=dict)
    """Prompt and completion tokens by model: what money is reckoned from."""
    ended: list[CompletionId] = Field(default_factory=list)
    """Those of ``open`` that have ended: what they used is in the sum. The others' is not."""


USAGE: Final = Question("usage", UsageQuery, UsageReply, patient=True)
COUNTS: Final = Question("counts", CountsQuery, Counts, patient=True)
SPENT: Final = Question("spent", SpentQuery, Spent, patient=True)
