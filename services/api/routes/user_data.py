"""``user_data/``: everything that there is of one user, for administrators."""

from typing import Annotated

from fastapi import Query

from services.api.deps import AdminDep, StateDep
from services.api.routes.faces import FacedRouter
from services.api.schemas.user_data import UserDataBody, user_data_body
from shared.contracts.ids import UserId
from shared.errors import InvalidRequest

router = FacedRouter("/user_data", errors=(400, 401, 403, 503))

UserQuery = Annotated[str, Query(min_length=1, max_length=512)]


@router.get("", summary="Count everything of one user")
async def count_user_data(state: StateDep, _admin: AdminDep, user: UserQuery) -> UserDataBody:
    """How many documents there are, and how far their removal is.

    `data` is null where there are more than can be counted in three seconds.
    """
    return user_data_body(user, await state["user_admin"].look(_name(user)))


@router.delete("", status_code=202, summary="Remove everything of one user")
async def purge_user_data(state: StateDep, _admin: AdminDep, user: UserQuery) -> UserDataBody:
    """For good, everywhere; it goes on after this answer, and again is harmless.

    Until `state` is `purged`, nobody is let in by that name. Nothing is counted before this answer:
    `found` says what there was as soon as that is known.
    """
    return user_data_body(user, await state["user_admin"].purge(_name(user)))


def _name(user: str) -> UserId:
    if "\0" in user:
        raise InvalidRequest("Text must not hold the character U+0000.", param="user")
    return UserId(user)
