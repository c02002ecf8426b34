"""``user_data/``."""

from services.api.schemas.model import AnswerModel, Moment
from shared.contracts.user_purge import PurgeState, UserDataReply


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
    """``state`` says how far the removal is; ``settlesAt`` when its second pass may run."""

    user: str
    state: PurgeState
    begun_at: Moment | None
    settles_at: Moment | None
    data: UserCountsBody


def user_data_body(user: str, reply: UserDataReply) -> UserDataBody:
    """As it is shown."""
    return UserDataBody(
        user=user,
        state=reply.state,
        begun_at=reply.begun_at,
        settles_at=reply.settles_at,
        data=UserCountsBody(**reply.data.model_dump()),
    )
