"""``parley keys``: what its flags mean, and what it shows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.local.errors import WrongSetting
from deploy.local.keys import expiry, lines, patterns

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_patterns_are_parted_by_commas_and_may_be_given_often() -> None:
    assert patterns(["llama*, demo", "qwen"]) == ["llama*", "demo", "qwen"]
    assert patterns(None) is None
    assert patterns([]) is None


@pytest.mark.parametrize("texts", [[""], [" "], [","], ["", ","]])
def test_an_empty_list_of_models_makes_no_key_for_all_of_them(texts: list[str]) -> None:
    with pytest.raises(WrongSetting, match="--models names no model"):
        patterns(texts)


def test_a_key_expires_so_long_after_now() -> None:
    assert expiry("90d", NOON) == NOON + timedelta(days=90)
    assert expiry(None, NOON) is None


@pytest.mark.parametrize("text", ["soon", "-5m", "", "999999999d", "9" * 30 + "d"])
def test_what_is_no_time_is_a_sentence(text: str) -> None:
    with pytest.raises(WrongSetting, match="--expires reads like 90d"):
        expiry(text, NOON)


def test_a_list_shows_nothing_that_a_terminal_obeys() -> None:
    key: dict[str, Any] = {
        "id": "k1", "prefix": "pk-1", "user": "a\x9b2J",
        "name": "\x1b]0;mine\x07\x1b[2K\u202etab\t\nk2",
        "admin": False, "expiresAt": None, "revokedAt": None,
    }  # fmt: skip
    header, row = lines([key])
    assert header.split() == ["ID", "PREFIX", "USER", "STATE", "NAME"]
    assert all(character.isprintable() for character in header + row)
    assert "mine" in row
