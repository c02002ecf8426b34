"""Who comes back to an event that was said twice is not given a splice."""

import pytest

from services.api.streams.cursor import Cursor
from services.api.streams.sequencer import Sequencer
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId
from shared.errors import FramesGone

ID = CompletionId("chatcmpl-" + "0" * 32)


def tokens(attempt: int, first: int) -> Frame:
    return Frame(FrameKind.TOKENS, attempt, first, 1, first + 1, first + 1, 0, b"x")


def quiet(kind: FrameKind, attempt: int, first: int) -> Frame:
    return Frame(kind, attempt, first, 0, first, first, 0, b"")


def reads(after: int, *frames: Frame) -> None:
    cursor, sequencer = Cursor(ID, after), Sequencer()
    for frame in frames:
        cursor.check(frame, sequencer.judge(frame))


SEAM = [quiet(FrameKind.TAKEOVER, 2, 2), quiet(FrameKind.FROM, 2, 2)]
BEGUN = [tokens(1, 0), tokens(1, 1)]


@pytest.mark.parametrize(
    "frames",
    [
        [*BEGUN, *SEAM, tokens(1, 2)],
        [*BEGUN, *SEAM, tokens(2, 2), tokens(2, 3), tokens(1, 2)],
        [*BEGUN, SEAM[0], tokens(1, 2), SEAM[1]],
        [*BEGUN, *SEAM, quiet(FrameKind.SNAPSHOT, 1, 3)],
        # A part that the log has lost came before it.
        [tokens(1, 0), tokens(1, 2), quiet(FrameKind.TAKEOVER, 2, 1), quiet(FrameKind.FROM, 2, 1)],
    ],
)
def test_an_event_that_an_overtaken_worker_has_said_too_is_no_place_to_go_on_from(
    frames: list[Frame],
) -> None:
    with pytest.raises(FramesGone):
        reads(2, *frames)


@pytest.mark.parametrize("after", [-1, 0, 1, 3])
def test_any_other_event_is(after: int) -> None:
    reads(after, *BEGUN, *SEAM, tokens(1, 2), tokens(2, 2), tokens(2, 3))


def test_what_comes_late_or_twice_from_the_one_who_goes_on_casts_no_doubt() -> None:
    reads(2, *BEGUN, *SEAM, tokens(2, 3), tokens(2, 2), tokens(2, 2), tokens(2, 3))


def test_a_snapshot_of_what_both_go_on_from_casts_no_doubt() -> None:
    reads(1, *BEGUN, *SEAM, quiet(FrameKind.SNAPSHOT, 1, 2))
