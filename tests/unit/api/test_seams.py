"""A takeover goes on from what a reader has, to the byte, or the reader ends with an error."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.streams.sequencer import Sequencer, Verdict
from shared.contracts.frames import Frame, FrameKind, PartialDigest
from shared.errors import WorkerLost
from tests.unit.api.test_relay import Bench


def digest_of(*words: str) -> bytes:
    digest = PartialDigest()
    for word in words:
        digest.update(word.encode())
    return digest.value()


def takeover(bench: Bench, first: int, digest: bytes = b"") -> list[Frame]:
    return [
        bench.quiet(FrameKind.TAKEOVER, first, 2),
        bench.quiet(FrameKind.FROM, first, 2, digest),
    ]


async def relayed(bench: Bench, frames: Sequence[Frame]) -> bytes:
    for frame in frames:
        bench.mailbox.put(frame)
    return (await bench.relay.step()).data


async def test_what_goes_on_from_the_very_same_words_is_relayed() -> None:
    bench = Bench("a", "b", "c")
    frames = [bench.frame(0), bench.frame(1), *takeover(bench, 2, digest_of("a", "b"))]
    assert await relayed(bench, [*frames, bench.frame(2, attempt=2)]) == b"abc"


async def test_as_many_but_other_words_are_an_error() -> None:
    bench = Bench("a", "b", "c")
    frames = [bench.frame(0), bench.frame(1), *takeover(bench, 2, digest_of("a", "X"))]
    assert await relayed(bench, [*frames, bench.frame(2, attempt=2)]) == b"ab"
    with pytest.raises(WorkerLost):
        await bench.relay.step()


async def test_a_reader_that_is_behind_compares_after_its_repair() -> None:
    for other, good in (("b", True), ("X", False)):
        bench = Bench("a", "b", "c")
        seam = takeover(bench, 2, digest_of("a", other))
        bench.log.frames = [bench.frame(0), bench.frame(1), *seam, bench.frame(2, attempt=2)]
        data = await relayed(bench, [bench.frame(0), *seam])
        assert data == (b"abc" if good else b"ab")
        if not good:
            with pytest.raises(WorkerLost):
                await bench.relay.step()


async def test_what_came_by_a_snapshot_is_compared_by_its_length_alone() -> None:
    bench = Bench("a", "b", "c")
    snapshot = bench.quiet(FrameKind.SNAPSHOT, 2, body=b'{"text":"ab","thinking":""}')
    frames = [snapshot, *takeover(bench, 2, digest_of("a", "b")), bench.frame(2, attempt=2)]
    assert await relayed(bench, frames) == b"[ab]c"


async def test_other_lengths_at_the_same_index_are_an_error() -> None:
    bench = Bench("a", "b", "c")
    seam = bench.quiet(FrameKind.FROM, 2, 2)._replace(text_length=3)
    assert await relayed(bench, [bench.frame(0), bench.frame(1), seam]) == b"ab"
    with pytest.raises(WorkerLost):
        await bench.relay.step()


async def test_a_lost_seam_is_read_from_the_log_before_anything_later_goes_out() -> None:
    bench = Bench("a", "b", "c")
    bench.log.away = True
    assert await relayed(bench, [bench.frame(0), bench.frame(1, attempt=2)]) == b"a"
    bench.log.away = False
    bench.log.frames = [
        bench.frame(0),
        *takeover(bench, 1, digest_of("a")),
        bench.frame(1, attempt=2),
    ]
    bench.clock.time = bench.relay.due()
    assert (await bench.relay.step()).data == b"b"


async def test_an_attempt_that_begins_before_what_was_relayed_is_an_error_without_its_seam() -> (
    None
):
    bench = Bench("a", "b", "c")
    assert (
        await relayed(bench, [bench.frame(0), bench.frame(1), bench.frame(1, attempt=2)]) == b"ab"
    )
    with pytest.raises(WorkerLost):
        await bench.relay.step()


async def test_an_end_of_an_attempt_whose_seam_nobody_knows_is_an_error_not_a_guess() -> None:
    bench = Bench("a", "b")
    end = bench.end()
    whole = bench.completed().model_copy(update={"attempts": 2})
    bench.journal.ends[whole.completion_id] = whole
    body = whole.model_copy(update={"text": ""}).to_bytes()
    assert await relayed(bench, [bench.frame(0), end._replace(body=body)]) == b"a"
    with pytest.raises(WorkerLost):
        await bench.relay.step()


async def test_an_end_by_an_attempt_that_was_taken_over_is_an_error_to_who_went_on() -> None:
    bench = Bench("a", "b", "c")
    frames = [bench.frame(0), *takeover(bench, 1), bench.frame(1, attempt=2), bench.end()]
    assert await relayed(bench, frames) == b"ab"
    with pytest.raises(WorkerLost):
        await bench.relay.step()


async def test_a_seam_that_was_passed_is_not_judged_again_by_a_later_reading_of_the_log() -> None:
    bench = Bench("a", "b", "c", "d")
    early = [bench.frame(0), *takeover(bench, 1, digest_of("a")), bench.frame(1, attempt=2)]
    assert await relayed(bench, early) == b"ab"
    bench.log.frames = [*early, bench.frame(2, attempt=2), bench.frame(3, attempt=2)]
    assert await relayed(bench, [bench.frame(3, attempt=2)]) == b"cd"


async def test_what_broker_and_log_have_lost_is_asked_of_the_worker_once_a_second() -> None:
    bench = Bench("a", "b", "c", "d")
    assert await relayed(bench, [bench.frame(0), bench.frame(2)]) == b"a"
    assert bench.resends == [0]
    await bench.relay.step()
    assert bench.resends == [0]
    bench.clock.time += 1
    await bench.relay.step()
    assert bench.resends == [0, 0]
    snapshot = bench.quiet(FrameKind.SNAPSHOT, 3, body=b'{"text":"abc","thinking":""}')
    assert await relayed(bench, [snapshot, bench.frame(3)]) == b"[bc]d"
    bench.clock.time += 1
    await bench.relay.step()
    assert len(bench.resends) == 2


async def test_nobody_is_asked_for_a_snapshot_that_cannot_bring_the_reader_forward() -> None:
    seamless = Bench("a", "b", "c")
    frames = [seamless.frame(0), seamless.quiet(FrameKind.TAKEOVER, 1, 2)]
    assert await relayed(seamless, [*frames, seamless.frame(2, attempt=2)]) == b"a"
    assert seamless.resends == []

    calling = Bench("a", "b", "c")
    call = calling.frame(0, body=b'{"tool_calls":[{"index":0}]}')
    assert await relayed(calling, [call, calling.frame(2)]) == call.body
    assert calling.resends == []


def tokens(first: int, attempt: int, origin: int) -> Frame:
    """One event; its body says which attempt really made it."""
    body = b"<%d.%d>" % (first, origin)
    return Frame(FrameKind.TOKENS, attempt, first, 1, first, first + 1, 0, body)


@settings(deadline=None, max_examples=300)
@given(
    before=st.integers(0, 5),
    zombie=st.integers(0, 4),
    after=st.integers(1, 5),
    data=st.data(),
)
def test_two_live_writers_never_make_a_spliced_answer(
    before: int, zombie: int, after: int, data: st.DataObject
) -> None:
    # The zombie goes on at the seam too; frames are lost and interleaved as the network likes.
    one = [tokens(n, 1, 1) for n in range(before + zombie)]
    seam = [
        Frame(FrameKind.TAKEOVER, 2, before, 0, 0, 0, 0, b""),
        Frame(FrameKind.FROM, 2, before, 0, 0, before, 0, b""),
    ]
    two = [*seam, *(tokens(before + n, 2, 2) for n in range(after))]
    order = data.draw(st.permutations([1] * len(one) + [2] * len(two)))
    arrived = [one.pop(0) if writer == 1 else two.pop(0) for writer in order]
    arrived = [frame for frame in arrived if data.draw(st.integers(0, 4))]

    sequencer, said, diverged = Sequencer(), [], False
    for frame in arrived:
        verdict = sequencer.judge(frame)
        diverged = diverged or verdict is Verdict.DIVERGED
        if verdict is Verdict.DELIVER and not diverged:
            said.append(frame.body)
    origins = [int(body.rstrip(b">").rpartition(b".")[2]) for body in said]
    assert said == [b"<%d.%d>" % (n, origin) for n, origin in enumerate(origins)]
    if 2 in origins:
        assert origins == [1] * before + [2] * (len(origins) - before)
    else:
        # All of the first attempt's, which an end by the second does not complete unnoticed.
        assert set(origins) <= {1}
        if len(origins) > before:
            assert diverged or sequencer.joined < 2
            assert sequencer.unjoined(2)
