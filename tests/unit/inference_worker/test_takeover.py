"""What a successor makes of the frames that it finds."""

import json

from services.inference_worker.sse import ChunkTemplate
from services.inference_worker.takeover import Claim, Past
from shared.contracts.frames import Frame, FrameKind, PartialDigest
from tests.fakes.inference_worker.requests import ID, NOON

TEMPLATE = ChunkTemplate(ID, NOON, "demo", include_usage=False)


def past_of(*frames: Frame) -> Past:
    past = Past()
    for frame in frames:
        past.add(frame)
    return past


def tokens(attempt: int, first: int, *events: bytes) -> Frame:
    count = first + len(events)
    return Frame(FrameKind.TOKENS, attempt, first, len(events), count, 0, 0, b"".join(events))


def mark(kind: FrameKind, attempt: int, first: int = 0, body: bytes = b"") -> Frame:
    return Frame(kind, attempt, first, 0, first, 0, 0, body)


NOTHING = PartialDigest().value()


def test_an_attempt_that_sent_nothing_is_run_again_as_the_next_one() -> None:
    assert past_of(mark(FrameKind.HEARTBEAT, 1)).claim(2) == Claim(2, 2, digest=NOTHING, failed=1)


def test_a_takeover_that_came_to_nothing_has_a_number_and_is_no_attempt_that_failed() -> None:
    past = past_of(mark(FrameKind.HEARTBEAT, 1), mark(FrameKind.TAKEOVER, 2))
    assert past.claim(3) == Claim(3, 2, digest=NOTHING, failed=1)


def test_after_three_attempts_at_an_engine_there_have_been_enough() -> None:
    begun = [
        frame
        for attempt in (1, 2, 3)
        for frame in (mark(FrameKind.TAKEOVER, attempt), mark(FrameKind.HEARTBEAT, attempt))
    ]
    assert not past_of(*begun[:4]).claim(3).exhausted
    assert past_of(*begun[:4]).claim(3).last
    exhausted = past_of(*begun).claim(4)
    assert (exhausted.exhausted, exhausted.count) == (True, 3)


def test_takeovers_that_the_broker_interrupts_use_no_attempt_up() -> None:
    marks = [mark(FrameKind.TAKEOVER, attempt) for attempt in range(2, 9)]
    claimed = past_of(mark(FrameKind.HEARTBEAT, 1), *marks).claim(9)
    assert (claimed.attempt, claimed.count) == (9, 2)
    assert (claimed.last, claimed.exhausted) == (False, False)


def test_what_was_sent_is_what_the_next_attempt_starts_from() -> None:
    opening, arguments = TEMPLATE.call(0, "call_1", "f", '{"a":1}')
    frames = [
        tokens(1, 0, TEMPLATE.role(), TEMPLATE.thinking("hm"), TEMPLATE.text("Hel")),
        tokens(1, 3, TEMPLATE.text("lo"), opening, arguments),
    ]

    claimed = past_of(mark(FrameKind.HEARTBEAT, 1), *frames).claim(2)

    said = claimed.said
    assert claimed.attempt == 2
    assert (said.text, said.thinking, said.events, said.tokens) == ("Hello", "hm", 6, 6)
    assert [(call.id, call.function.arguments) for call in said.tool_calls] == [
        ("call_1", '{"a":1}')
    ]
    digest = PartialDigest()
    digest.update(frames[0].body)
    digest.update(frames[1].body)
    assert claimed.digest == digest.value() != NOTHING


def test_frames_of_an_attempt_that_was_taken_over_do_not_exist() -> None:
    past = past_of(mark(FrameKind.TAKEOVER, 2), tokens(1, 0, TEMPLATE.text("ghost")))
    assert past.claim(3) == Claim(3, digest=NOTHING)


def test_a_place_where_an_attempt_went_on_counts_once_a_word_followed() -> None:
    frames = [
        tokens(1, 0, TEMPLATE.role(), TEMPLATE.text("a")),
        mark(FrameKind.TAKEOVER, 2, 2),
        mark(FrameKind.FROM, 2, 2),
        tokens(2, 2, TEMPLATE.text("b")),
        mark(FrameKind.TAKEOVER, 3, 3),
        mark(FrameKind.FROM, 3, 3),
    ]
    assert past_of(*frames).claim(4).continued_at == (2,)


def test_what_follows_a_gap_was_not_relayed() -> None:
    past = past_of(
        tokens(1, 0, TEMPLATE.role(), TEMPLATE.text("a")),
        tokens(1, 3, TEMPLATE.text("c")),
    )
    assert past.partial().text == "a"
    assert past.next_index == 2


def test_a_snapshot_heals_a_gap() -> None:
    body = json.dumps({"text": "abc", "thinking": "", "tool_calls": []}).encode()
    past = past_of(
        tokens(1, 0, TEMPLATE.role(), TEMPLATE.text("a")),
        mark(FrameKind.SNAPSHOT, 1, 4, body),
        tokens(1, 4, TEMPLATE.text("d")),
    )
    assert past.partial().text == "abcd"
    assert past.next_index == 5


def test_what_a_snapshot_healed_has_no_digest() -> None:
    body = json.dumps({"text": "abc", "thinking": "", "tool_calls": []}).encode()
    past = past_of(
        tokens(1, 0, TEMPLATE.role(), TEMPLATE.text("a")), mark(FrameKind.SNAPSHOT, 1, 4, body)
    )
    assert past.claim(2).digest == b""


def test_a_snapshot_of_what_is_known_changes_nothing() -> None:
    body = json.dumps({"text": "a", "thinking": "", "tool_calls": []}).encode()
    frames = [tokens(1, 0, TEMPLATE.role(), TEMPLATE.text("a"))]
    with_snapshot = [*frames, mark(FrameKind.SNAPSHOT, 1, 2, body)]
    assert past_of(*with_snapshot).claim(2) == past_of(*frames).claim(2)
