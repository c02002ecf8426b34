"""``user_data/``."""

from services.api.schemas.model import AnswerModel, Moment
from shared.contracts.user_purge import PurgeState, UserData, UserDataReply


class UserCountsBody(AnswerModel):
    """How many there are."""

    sessions: int
    messages: int
    search_terms: int
    usage: int
    presets: int
    preferences: int
    completions: int
    keys: int


class UserDataBody(AnswerModel):
    """``state`` says how far the removal is; ``settlesAt`` when its second pass may run.

    ``data`` is what there is now, ``found`` what there was when the removal began; either is null
    where it has not been counted.
    """

    user: str
    state: PurgeState
    begun_at: Moment | None
    settles_at: Moment | None
    data: UserCountsBody | None
    found: UserCountsBody | None


def user_data_body(user: str, reply: UserDataReply) -> UserDataBody:
    """As it is shown."""
    return UserDataBody(
        user=user,
        state=reply.state,
        begun_at=reply.begun_at,
        settles_at=reply.settles_at,
        data=_counts(reply.data),
        found=_counts(reply.found),
    )


def _counts(data: UserData | None) -> UserCountsBody | None:
    return UserCountsBody(**data.model_dump()) if data is not None else None
