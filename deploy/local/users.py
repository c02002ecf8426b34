"""``parley users``: over the broker, as whoever may read the data directory owns the installation.

History does the work, and goes on with it whatever becomes of this command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from pydantic import ValidationError

from deploy.local.broker_client import BrokerClient
from deploy.local.errors import WrongSetting
from services.api.ports.sessions import Asking
from shared.contracts.ids import UserId
from shared.contracts.user_purge import (
    PURGE_USER,
    USER_DATA,
    PurgeState,
    PurgeUser,
    UserData,
    UserDataQuery,
    UserDataReply,
)
from shared.errors import HistoryUnavailable

_LOOK_EVERY: Final = 0.25
_PATIENCE: Final = 60.0
"""Seconds that the command waits for the first pass."""

_NAMES: Final = {
    "sessions": "sessions",
    "messages": "messages",
    "search_terms": "words to find them by",
    "usage": "usage records",
    "presets": "presets",
    "preferences": "preferences",
    "completions": "marks of completions",
    "keys": "API keys",
}


class UserCommands:
    """Each answers what ``--json`` prints.

    Raises (every call):
        LauncherError: nothing runs there, or history refuses; with its own sentence.
    """

    def __init__(self, broker: BrokerClient) -> None:
        """Over ``broker``."""
        self._broker = broker

    def count(self, user: str) -> dict[str, Any]:
        """What there is of this user; nothing is done."""
        query = _query(user)
        return _body(user, self._broker.run(lambda history: history.ask(USER_DATA, query)))

    def purge(self, user: str) -> dict[str, Any]:
        """Remove it; returns once all that was there is gone, or after a minute.

        ``found`` says how much that was: history counts it before it removes anything.
        """
        command = PurgeUser(user_id=_query(user).user_id)

        async def purge(history: Asking) -> UserDataReply:
            reply = await history.ask(PURGE_USER, command)
            # Not counted each time: that takes longer than the look.
            look = UserDataQuery(user_id=command.user_id, counted=False)
            clock = asyncio.get_running_loop().time
            until = clock() + _PATIENCE
            while reply.state is PurgeState.REMOVING and clock() < until:
                await asyncio.sleep(_LOOK_EVERY)
                # It has begun: a history that is away for a moment goes on with it.
                with suppress(HistoryUnavailable):
                    reply = await history.ask(USER_DATA, look)
            if reply.state is PurgeState.REMOVING:
                return reply
            return await history.ask(USER_DATA, UserDataQuery(user_id=command.user_id))

        reply = self._broker.run(purge)
        return {**_body(user, reply), "found": _counts(reply.found)}


def lines(body: dict[str, Any]) -> Iterator[str]:
    """What was counted, or what became of a purge, for people."""
    user, purged = body["user"], "found" in body
    counts = body["found"] if purged else body["data"]
    for name, title in _NAMES.items():
        if counts is not None and counts[name]:
            yield f"{counts[name]:>8}  {title}"
    if not purged:
        if counts is None:
            yield f"There is more of {user} than can be counted in a moment."
        yield f"Nothing was done: --yes removes everything of {user}, and revokes the keys."
    elif body["state"] == PurgeState.REMOVING:
        yield f"It goes on: there is much of {user}. Ask again without --yes how far it is."
    elif body["state"] == PurgeState.SETTLING:
        yield f"Everything of {user} is gone. What was under way goes after {body['settlesAt']};"
        yield "until then nobody is let in by that name."
    else:
        yield f"Everything of {user} is gone."


def _query(user: str) -> UserDataQuery:
    try:
        return UserDataQuery(user_id=UserId(user))
    except ValidationError as error:
        sentence = "the name of a user has 1 to 512 characters."
        raise WrongSetting(sentence) from error


def _body(user: str, reply: UserDataReply) -> dict[str, Any]:
    return {
        "user": user,
        "state": reply.state.value,
        "begunAt": reply.begun_at.isoformat() if reply.begun_at else None,
        "settlesAt": reply.settles_at.isoformat() if reply.settles_at else None,
        "data": _counts(reply.data),
    }


def _counts(data: UserData | None) -> dict[str, int] | None:
    return data.model_dump() if data is not None else None
