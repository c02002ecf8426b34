"""Ids, subjects and durations."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import subjects
from shared.contracts.ids import (
    CompletionId,
    is_completion_id,
    message_id,
    new_completion_id,
    parse_session_id,
)
from shared.durations import parse_duration


def test_completion_ids_are_unique_and_sort_by_time() -> None:
    ids = [new_completion_id() for _ in range(1000)]

    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert all(is_completion_id(each) for each in ids)


@pytest.mark.parametrize(
    "text", ["", "chatcmpl-", "chatcmpl-*", "chatcmpl-" + "a" * 31 + ".", "x" * 41, "chatcmpl->"]
)
def test_nothing_else_is_a_completion_id(text: str) -> None:
    assert not is_completion_id(text)


def test_message_ids_are_the_same_on_every_delivery_and_differ_by_role_and_number() -> None:
    completion = CompletionId("chatcmpl-" + "0" * 32)

    # Stored documents are keyed by these: they may never change.
    assert message_id(completion, "user") == "3bec2641-e78c-5aa5-bbe9-fa709c122767"
    assert message_id(completion, "assistant", 1) == "3e7be08d-c8ca-5856-a053-0ba488d7c67d"
    kinds = {message_id(completion, role, n) for role in ("user", "assistant") for n in range(3)}
    assert len(kinds) == 6


@pytest.mark.parametrize(
    "text",
    [
        "0192f0a0-7b1c-7000-8000-000000000001",
        "0192F0A07B1C70008000000000000001",
        "{0192f0a0-7b1c-7000-8000-000000000001}",
    ],
)
def test_a_session_id_has_one_canonical_form(text: str) -> None:
    assert parse_session_id(text) == "0192f0a0-7b1c-7000-8000-000000000001"


@pytest.mark.parametrize("text", ["", "1", "not-a-uuid", "0192f0a0-7b1c-7000-8000-00000000000*"])
def test_anything_else_is_no_session_id(text: str) -> None:
    assert parse_session_id(text) is None


@given(st.text(min_size=1, max_size=300))
def test_any_model_name_becomes_one_safe_subject_token(name: str) -> None:
    slug = subjects.model_slug(name)

    assert slug
    assert not set(slug) & set(".*> \t\r\n")
    assert slug.isascii()


def test_names_that_look_alike_after_cleaning_stay_apart() -> None:
    assert subjects.model_slug("a:b") != subjects.model_slug("a_b:latest")
    assert subjects.model_slug("llama3.2") == subjects.model_slug("llama3.2:latest")


def test_a_port_in_a_registry_name_is_no_tag() -> None:
    assert subjects.full_model_name("hub:5000/llama") == "hub:5000/llama:latest"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2s", timedelta(seconds=2)),
        ("500ms", timedelta(milliseconds=500)),
        ("5m", timedelta(minutes=5)),
        ("1.5h", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
        ("30", timedelta(seconds=30)),
        (30, timedelta(seconds=30)),
    ],
)
def test_durations_read_as_people_write_them(text: object, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1 fortnight", "1s2", "∞"])
def test_anything_else_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 2s"):
        parse_duration(text)
