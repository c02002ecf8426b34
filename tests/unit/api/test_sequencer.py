"""Frames in any order, with losses, copies and two attempts: exact, or known to have a gap."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.streams.sequencer import Sequencer, Verdict
from shared.contracts.frames import Frame, FrameKind


def tokens(first: int, events: int = 1, attempt: int = 1) -> Frame:
    body = b"".join(b"<%d>" % number for number in range(first, first + events))
    end = first + events
    return Frame(FrameKind.TOKENS, attempt, first, events, end, end, 0, body)


def quiet(kind: FrameKind, first: int = 0, attempt: int = 1) -> Frame:
    return Frame(kind, attempt, first, 0, first, first, 0, b"")


def transcript(frames: list[Frame]) -> tuple[bytes, Sequencer]:
    sequencer = Sequencer()
    said = [frame.body for frame in frames if sequencer.judge(frame) is Verdict.DELIVER]
    return b"".join(said), sequencer


def expected(events: int) -> bytes:
    return b"".join(b"<%d>" % number for number in range(events))


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    data=st.data(),
)
def test_what_is_relayed_is_always_a_prefix_and_a_loss_is_known(
    sizes: list[int], data: st.DataObject
) -> None:
    frames, first = [], 0
    for size in sizes:
        frames.append(tokens(first, size))
        first += size
    arrived = data.draw(st.lists(st.sampled_from(frames), max_size=40))

    said, sequencer = transcript(arrived)

    assert said == expected(sequencer.next_index)
    known = max((frame.next_index for frame in arrived), default=0)
    assert sequencer.in_gap == (sequencer.next_index < known)
    assert sequencer.missing(first) == (sequencer.next_index < first)


@settings(deadline=None)
@given(
    sent=st.integers(0, 6),
    more=st.integers(0, 6),
    zombie=st.lists(st.integers(0, 14), max_size=8),
    data=st.data(),
)
def test_a_zombie_is_never_heard_after_a_takeover(
    sent: int, more: int, zombie: list[int], data: st.DataObject
) -> None:
    before = [tokens(number) for number in range(sent)]
    takeover = [
        quiet(FrameKind.TAKEOVER, sent, attempt=2),
        quiet(FrameKind.FROM, sent, attempt=2),
    ]
    after = [tokens(sent + number, attempt=2) for number in range(more)]
    noise = [tokens(number, attempt=1)._replace(body=b"zombie") for number in zombie]
    order = data.draw(st.permutations([0] * len(after) + [1] * len(noise)))
    tail = [after.pop(0) if which == 0 else noise.pop(0) for which in order]

    said, sequencer = transcript([*before, *takeover, *tail])

    assert said == expected(sent + more)
    assert not sequencer.in_gap


def test_more_than_a_takeover_goes_on_from_cannot_be_continued() -> None:
    sequencer = Sequencer()
    for number in range(3):
        sequencer.judge(tokens(number))
    sequencer.judge(quiet(FrameKind.TAKEOVER, 2, attempt=2))
    assert sequencer.judge(quiet(FrameKind.FROM, 2, attempt=2)) is Verdict.DIVERGED


def test_less_than_a_takeover_goes_on_from_is_a_gap() -> None:
    sequencer = Sequencer()
    sequencer.judge(tokens(0))
    assert sequencer.judge(quiet(FrameKind.FROM, 2, attempt=2)) is Verdict.GAP
    assert sequencer.in_gap


def test_a_heartbeat_that_is_further_on_tells_of_a_gap() -> None:
    sequencer = Sequencer()
    sequencer.judge(tokens(0))
    assert sequencer.judge(quiet(FrameKind.HEARTBEAT, 1)) is Verdict.QUIET
    assert not sequencer.in_gap
    sequencer.judge(quiet(FrameKind.HEARTBEAT, 2))
    assert sequencer.in_gap


def test_an_end_counts_whoever_sends_it() -> None:
    sequencer = Sequencer()
    sequencer.judge(quiet(FrameKind.TAKEOVER, attempt=3))
    assert sequencer.judge(quiet(FrameKind.END, attempt=1)) is Verdict.END


def test_a_snapshot_bridges_only_what_is_missing() -> None:
    sequencer = Sequencer()
    sequencer.judge(tokens(0, 2))
    assert sequencer.judge(quiet(FrameKind.SNAPSHOT, 2)) is Verdict.QUIET
    ahead = quiet(FrameKind.SNAPSHOT, 5)
    assert sequencer.judge(ahead) is Verdict.BRIDGE
    sequencer.jump(ahead)
    assert sequencer.judge(tokens(5)) is Verdict.DELIVER


def test_a_reading_of_the_log_hears_earlier_attempts_that_the_reader_has_left_behind() -> None:
    live = Sequencer()
    live.judge(tokens(0))
    live.judge(quiet(FrameKind.TAKEOVER, 2, attempt=2))

    reader = live.rewound()
    verdicts = [
        reader.judge(frame)
        for frame in (
            tokens(0),
            tokens(1),
            quiet(FrameKind.TAKEOVER, 2, attempt=2),
            tokens(2, attempt=1),
            quiet(FrameKind.FROM, 2, attempt=2),
            tokens(2, attempt=2),
        )
    ]
    live.adopt(reader)

    assert verdicts == [
        Verdict.DUPLICATE,
        Verdict.DELIVER,
        Verdict.QUIET,
        Verdict.STALE,
        Verdict.SEAM,
        Verdict.DELIVER,
    ]
    assert (live.next_index, live.attempt, live.in_gap) == (3, 2, False)
