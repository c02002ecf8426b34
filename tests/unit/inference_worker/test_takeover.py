"""What a successor makes of the frames that it finds."""

import json

from services.inference_worker.sse import ChunkTemplate
from services.inference_worker.takeover import GiveUp, Past, RunAgain, decide
from shared.contracts.frames import Frame, FrameKind
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


def test_an_attempt_that_sent_nothing_is_run_again_as_the_next_one() -> None:
    assert decide(past_of(mark(FrameKind.HEARTBEAT, 1))) == RunAgain(2)


def test_a_takeover_that_came_to_nothing_counts_as_an_attempt() -> None:
    past = past_of(mark(FrameKind.HEARTBEAT, 1), mark(FrameKind.TAKEOVER, 2))
    assert decide(past) == RunAgain(3)


def test_after_three_attempts_it_is_given_up() -> None:
    past = past_of(mark(FrameKind.HEARTBEAT, 1), mark(FrameKind.TAKEOVER, 3))
    decision = decide(past)
    assert isinstance(decision, GiveUp)
    assert decision.partial.events == 0


def test_what_was_sent_is_the_partial_answer() -> None:
    opening, arguments = TEMPLATE.call(0, "call_1", "f", '{"a":1}')
    past = past_of(
        mark(FrameKind.HEARTBEAT, 1),
        tokens(1, 0, TEMPLATE.role(), TEMPLATE.thinking("hm"), TEMPLATE.text("Hel")),
        tokens(1, 3, TEMPLATE.text("lo"), opening, arguments),
    )

    decision = decide(past)

    assert isinstance(decision, GiveUp)
    assert decision.attempt == 2
    said = decision.partial
    assert (said.text, said.thinking, said.events, said.tokens) == ("Hello", "hm", 6, 6)
    assert [(call.id, call.function.arguments) for call in said.tool_calls] == [
        ("call_1", '{"a":1}')
    ]


def test_frames_of_an_attempt_that_was_taken_over_do_not_exist() -> None:
    past = past_of(mark(FrameKind.TAKEOVER, 2), tokens(1, 0, TEMPLATE.text("ghost")))
    assert decide(past) == RunAgain(3)


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
