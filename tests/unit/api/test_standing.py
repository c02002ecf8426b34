"""How a completion stands, from its frames and its end."""

import json

from hypothesis import given
from hypothesis import strategies as st

from services.api.streams.standing import SoFar
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId, UserId
from tests.fakes.api.history import NOON


def event(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


def tokens(first: int, *bodies: bytes, length: int = 0, attempt: int = 1) -> Frame:
    count = len(bodies)
    return Frame(FrameKind.TOKENS, attempt, first, count, 0, length, 0, b"".join(bodies))


def snapshot(first: int, text: str) -> Frame:
    body = json.dumps({"text": text, "thinking": "", "tool_calls": []}).encode()
    return Frame(FrameKind.SNAPSHOT, 1, first, 0, 0, len(text), 0, body)


def so_far(*frames: Frame) -> SoFar:
    reading = SoFar()
    for frame in frames:
        reading.add(frame)
    return reading


def test_nothing_heard_is_queued_and_a_sign_of_life_is_running() -> None:
    assert so_far().standing(None).status == "queued"
    heartbeat = Frame(FrameKind.HEARTBEAT, 1, 0, 0, 0, 0, 0, b"")
    assert so_far(heartbeat).standing(None).status == "running"


@given(
    words=st.lists(st.text(max_size=5), max_size=12), marks=st.sets(st.integers(0, 12), max_size=4)
)
def test_text_so_far_is_the_same_whatever_snapshots_stand_between(
    words: list[str], marks: set[int]
) -> None:
    frames: list[Frame] = []
    for number, word in enumerate(words):
        if number in marks:
            frames.append(snapshot(number, "".join(words[:number])))
        frames.append(tokens(number, event(content=word), length=len("".join(words[: number + 1]))))
    assert so_far(*frames).standing(None).text == "".join(words)


def test_thinking_and_pieces_of_tool_calls_are_put_together() -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"a":1}'}}
    standing = so_far(
        tokens(0, event(role="assistant", reasoning_content="Hm"), event(tool_calls=[call])),
        tokens(2, event(tool_calls=[more])),
    ).standing(None)
    assert standing.thinking == "Hm"
    (found,) = standing.tool_calls
    assert (found.id, found.function.name, found.function.arguments) == ("c1", "f", '{"a":1}')


def test_what_a_zombie_says_after_a_takeover_is_not_in_it() -> None:
    standing = so_far(
        tokens(0, event(content="a"), length=1),
        Frame(FrameKind.TAKEOVER, 2, 1, 0, 0, 0, 0, b""),
        tokens(1, event(content="zombie"), length=7),
        Frame(FrameKind.FROM, 2, 1, 0, 0, 1, 0, b""),
        tokens(1, event(content="b"), length=2, attempt=2),
    ).standing(None)
    assert (standing.text, standing.attempts) == ("ab", 2)


def test_the_end_is_the_truth_whatever_frames_said() -> None:
    end = CompletionCompleted(
        completion_id=CompletionId("c"),
        user_id=UserId("u"),
        model="m",
        status=CompletionStatus.CANCELLED,
        created_at=NOON,
        completed_at=NOON,
        text="all",
    )
    standing = so_far(tokens(0, event(content="a"))).standing(end)
    assert (standing.status, standing.text) == ("cancelled", "all")
