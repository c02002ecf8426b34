"""Frames: what one process writes, another reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.frames import HEAD_SIZE, Frame, FrameKind, MalformedFrame, parse_frame

_U32 = st.integers(0, 2**32 - 1)
FRAMES = st.builds(
    Frame, st.sampled_from(FrameKind), st.integers(0, 2**16 - 1), _U32, _U32, _U32, _U32, _U32,
    st.binary(max_size=200),
)  # fmt: skip


@given(FRAMES)
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    assert parse_frame(frame.to_bytes()) == frame


@given(st.binary(max_size=HEAD_SIZE - 1))
def test_a_short_frame_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        parse_frame(data)


@pytest.mark.parametrize("head", [b"\x02\x01", b"\x01\x00", b"\x01\x63", b"\x00\x01"])
def test_another_version_or_an_unknown_kind_is_malformed(head: bytes) -> None:
    with pytest.raises(MalformedFrame):
        parse_frame(head + bytes(HEAD_SIZE))


def test_the_bytes_of_a_frame_are_fixed_for_good() -> None:
    frame = Frame(FrameKind.TOKENS, 1, 2, 3, 4, 5, 6, b"data: {}\n\n")

    assert frame.to_bytes().hex() == (
        "0101" "0001" "00000002" "00000003" "00000004" "00000005" "00000006"
        "646174613a207b7d0a0a"
    )  # fmt: skip
    assert frame.next_index == 5
