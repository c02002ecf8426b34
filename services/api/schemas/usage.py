"""``GET usage/`` and ``GET health/stats/``."""

from datetime import date

from services.api.schemas.model import AnswerModel


class UsageSumBody(AnswerModel):
    """Tokens as the engines counted them; times in milliseconds, null where none is known.

    ``cost`` is decimal text with six digits after the point: no client reads it as a float by
    accident.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated_requests: int
    first_token_ms_mean: float | None
    first_token_ms_p95: float | None
    cost: str


class UsageRowBody(UsageSumBody):
    """One day (``YYYY-MM-DD``, UTC) or one model: ``key`` says which."""

    key: str


class UsageBody(AnswerModel):
    """Rows in order of their keys, those without usage left out; both days are included.

    ``total`` is rounded once: it may differ from the sum of the rows in the last digit.
    """

    first_day: date
    last_day: date
    group: str
    currency: str
    rows: list[UsageRowBody]
    total: UsageSumBody


class ModelRowBody(UsageRowBody):
    """One model; ``model`` is its ``key`` under another name."""

    model: str


class StatsBody(UsageSumBody):
    """What a user has now, and the last 30 days: whole, by day and by model.

    ``messages`` are those on the longest branch of each session.
    """

    sessions: int
    messages: int
    first_day: date
    last_day: date
    currency: str
    by_day: list[UsageRowBody]
    by_model: list[ModelRowBody]
