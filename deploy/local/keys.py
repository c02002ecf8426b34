"""``parley keys``: over the broker, as whoever may read the data directory owns the installation.

Not over HTTP: the first key of an administrator has to come from somewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from deploy.local.broker_client import BrokerClient
from deploy.local.errors import WrongSetting
from services.api.access.key_admin import KeyAdmin, Wish
from services.api.schemas.api_keys import key_body, new_key_body
from shared.clock import utc_now
from shared.contracts.api_keys import KeyPage, Money
from shared.contracts.ids import UserId
from shared.durations import Duration

_PAGE: Final = 200
_COLUMNS: Final = ("id", "prefix", "user", "state", "name")

_OPTIONS: Final = {
    "user_id": "--user",
    "requests_per_minute": "--rpm",
    "tokens_per_month": "--budget-tokens",
    "money_per_month": "--budget-money",
    "expires_at": "--expires",
}
"""What fields of a key are called on the command line, where that is something else."""


class KeyCommands:
    """The three commands; each answers what ``--json`` prints.

    Raises (every call):
        LauncherError: nothing runs there, or history refuses; with its own sentence.
    """

    def __init__(self, broker: BrokerClient) -> None:
        """Over ``broker``."""
        self._broker = broker

    def create(self, wish: Wish) -> dict[str, Any]:
        """The new key with ``key``, which nobody keeps."""
        try:
            made = self._broker.run(lambda history: KeyAdmin(history).create(wish))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            field = str(problem["loc"][0]) if problem["loc"] else ""
            option = _OPTIONS.get(field, f"--{field}").replace("_", "-")
            sentence = f"{option}: {problem['msg']}."
            raise WrongSetting(sentence) from error
        return new_key_body(made.key, made.secret).model_dump(mode="json", by_alias=True)

    def everyone(self, user: str | None) -> list[dict[str, Any]]:
        """All keys, or those of one user, the oldest first."""
        whose = UserId(user) if user is not None else None
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self._page(whose, cursor)
            found += [key_body(key).model_dump(mode="json", by_alias=True) for key in page.keys]
            cursor = page.next_cursor
            if cursor is None:
                return found

    def revoke(self, key_id: str) -> dict[str, Any]:
        """The key as it is then."""
        key = self._broker.run(lambda history: KeyAdmin(history).revoke(key_id))
        return key_body(key).model_dump(mode="json", by_alias=True)

    def _page(self, whose: UserId | None, cursor: str | None) -> KeyPage:
        return self._broker.run(lambda history: KeyAdmin(history).page(whose, _PAGE, cursor))


def expiry(text: str | None, now: datetime) -> datetime | None:
    """The moment behind ``--expires``.

    Raises:
        WrongSetting: it is none, or beyond the calendar.
    """
    if text is None:
        return None
    try:
        return now + TypeAdapter(Duration).validate_python(text)
    except (ValidationError, OverflowError) as error:
        sentence = "--expires reads like 90d, 12h or 30m."
        raise WrongSetting(sentence) from error


def amount(text: str | None) -> Decimal | None:
    """The money behind ``--budget-money``.

    Raises:
        WrongSetting: it is no amount that anybody could spend.
    """
    if text is None:
        return None
    try:
        return TypeAdapter(Money).validate_python(text)
    except ValidationError as error:
        sentence = "--budget-money reads like 12.50: more than 0, at most six digits after it."
        raise WrongSetting(sentence) from error


def patterns(texts: list[str] | None) -> list[str] | None:
    """``--models 'llama*,demo' --models qwen``, as a list.

    Raises:
        WrongSetting: it names none: a key without patterns may ask every model, and whoever writes
            the flag means some (a variable of a script may be empty).
    """
    if not texts:
        return None
    found = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    if not found:
        raise WrongSetting("--models names no model; leave it out for a key that may ask them all.")
    return found


def lines(keys: list[dict[str, Any]]) -> Iterator[str]:
    """A table for people."""
    shown = [{**key, "state": _state(key)} for key in keys]
    rows = [{column: _on_one_line(str(key[column])) for column in _COLUMNS} for key in shown]
    widths = {
        column: max(len(column), *(len(row[column]) for row in rows)) for column in _COLUMNS if rows
    }
    for row in ({column: column.upper() for column in _COLUMNS}, *rows) if rows else ():
        yield "  ".join(f"{row[column]:<{widths[column]}}" for column in _COLUMNS).rstrip()


def _on_one_line(text: str) -> str:
    """Without what a terminal obeys, or would take for a row of its own: others have written it."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _state(key: Mapping[str, Any]) -> str:
    if key["revokedAt"]:
        return "revoked"
    if key["expiresAt"] and key["expiresAt"] <= utc_now().isoformat():
        return "expired"
    return "admin" if key["admin"] else "valid"
