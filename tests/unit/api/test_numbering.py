"""Ids of events, and what of them a reader lacks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.streams.numbering import Numbering, read_cursor
from shared.contracts.ids import CompletionId
from shared.errors import FramesGone, InvalidRequest

ID = CompletionId("chatcmpl-" + "0" * 32)


def events(first: int, next_index: int) -> bytes:
    return b"".join(b'data: {"n":%d}\n\n' % number for number in range(first, next_index))


def numbered(first: int, next_index: int) -> bytes:
    return b"".join(
        b'id: %s:%d\ndata: {"n":%d}\n\n' % (ID.encode(), number, number)
        for number in range(first, next_index)
    )


@given(sizes=st.lists(st.integers(1, 5), max_size=10), after=st.integers(-1, 60))
def test_whatever_frames_held_each_event_after_the_cursor_comes_once(
    sizes: list[int], after: int
) -> None:
    numbering, said, first = Numbering(ID, after), b"", 0
    for size in sizes:
        said += numbering.dress(events(first, first + size), first, first + size)
        first += size
    assert said == numbered(min(after + 1, first), first)


def test_one_event_that_stands_for_several_is_numbered_as_the_last_of_them() -> None:
    body = b"data: {}\n\n"
    assert Numbering(ID).dress(body, 3, 7) == b"id: %s:6\n%s" % (ID.encode(), body)
    assert Numbering(ID, 6).dress(body, 3, 7) == b""
    assert Numbering(ID, 2).dress(body, 3, 7) != b""


@pytest.mark.parametrize("after", [3, 4, 5])
def test_who_has_a_part_of_what_was_lost_cannot_be_given_the_rest(after: int) -> None:
    with pytest.raises(FramesGone):
        Numbering(ID, after).dress(b"data: {}\n\n", 3, 7)


def test_the_end_is_numbered_after_all_events() -> None:
    numbering = Numbering(ID)
    assert numbering.end(0).endswith(b":0\n")
    numbering.dress(events(0, 3), 0, 3)
    assert numbering.end(3).endswith(b":3\n")
    assert numbering.end(1).endswith(b":3\n")


def test_the_header_wins_over_the_address_that_a_client_repeats() -> None:
    assert read_cursor(ID, None, None) is None
    assert read_cursor(ID, "4", None) == 4
    assert read_cursor(ID, "4", "") == 4
    assert read_cursor(ID, "4", f"{ID}:9") == 9
    assert read_cursor(ID, "-1", None) == -1


@pytest.mark.parametrize("cursor", ["", "x", "-2", "+1", " 1", "1e3", "0x1", "\u0661", "1" * 11])
def test_anything_but_an_index_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_cursor(ID, cursor, None)
    assert refused.value.param == "starting_after"
    with pytest.raises(InvalidRequest):
        read_cursor(ID, None, f"{ID}:{cursor}")
