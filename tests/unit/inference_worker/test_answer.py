"""Frames of an answer: indices without gaps, heads that add up."""

from collections.abc import Iterator
from itertools import count

from services.inference_worker.answer import Answer
from services.inference_worker.ports import Call, Text, Thinking
from services.inference_worker.sse import ChunkTemplate, deltas
from shared.contracts.frames import FrameKind
from tests.fakes.inference_worker.broker import FakeBroker
from tests.fakes.inference_worker.requests import ID, NOON

TEMPLATE = ChunkTemplate(ID, NOON, "demo", include_usage=False)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def call_ids() -> Iterator[str]:
    return (f"call_{number}" for number in count())


def answer_to(broker: FakeBroker, *, limit: int = 2**20, clock: Clock | None = None) -> Answer:
    ids = call_ids()
    return Answer(
        broker,
        "chat.chunks.gw.x",
        TEMPLATE,
        attempt=2,
        limit=limit,
        call_id=lambda: next(ids),
        clock=clock or Clock(),
    )


async def test_what_one_read_held_is_one_frame_and_the_role_rides_with_the_first() -> None:
    broker = FakeBroker()
    answer = answer_to(broker)

    await answer.add([Text("Hel"), Text("lo")])
    await answer.add([Thinking("hm")])

    first, second = broker.sent
    assert first[:-1] == (FrameKind.TOKENS, 2, 0, 3, 2, 5, 0)
    assert [*deltas(first.body)] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
    ]
    assert second[:-1] == (FrameKind.TOKENS, 2, 3, 1, 3, 5, 2)


async def test_indices_have_no_gap_over_frames_that_were_split_for_the_broker() -> None:
    broker = FakeBroker(room=500)
    answer = answer_to(broker)

    await answer.add([Text(f"{n} ") for n in range(20)])

    assert len(broker.sent) > 5
    expected = 0
    for frame in broker.sent:
        assert frame.first == expected
        assert len(frame.body) <= 500 + len(TEMPLATE.role())
        assert len([*deltas(frame.body)]) == frame.events
        expected = frame.next_index
    assert expected == 21
    assert broker.sent[-1].tokens == 20
    assert broker.sent[-1].text_length == len("".join(f"{n} " for n in range(20)))


async def test_a_tool_call_is_two_events_of_one_frame() -> None:
    broker = FakeBroker()
    answer = answer_to(broker)

    await answer.add([Call("weather", '{"city":"Rome"}'), Call("time", "{}")])

    assert broker.sent[0].events == 5
    opened = [call["id"] for delta in deltas(broker.sent[0].body)
              for call in delta.get("tool_calls", []) if "id" in call]  # fmt: skip
    assert opened == ["call_0", "call_1"]
    assert [call.function.name for call in answer.said().tool_calls] == ["weather", "time"]


async def test_a_heartbeat_has_no_index_and_names_the_next_one() -> None:
    broker = FakeBroker()
    answer = answer_to(broker)

    await answer.heartbeat()
    await answer.add([Text("x")])
    await answer.heartbeat()

    assert [(f.kind.name, f.first, f.events) for f in broker.sent] == [
        ("HEARTBEAT", 0, 0),
        ("TOKENS", 0, 2),
        ("HEARTBEAT", 2, 0),
    ]


async def test_an_empty_answer_still_gets_the_event_that_opens_it() -> None:
    broker = FakeBroker()
    answer = answer_to(broker)

    await answer.open()
    await answer.open()

    assert [frame.body for frame in broker.sent] == [TEMPLATE.role()]


async def test_a_snapshot_of_everything_follows_each_64_kib_of_text() -> None:
    broker = FakeBroker(room=2**20)
    answer = answer_to(broker)

    await answer.add([Text("x" * 2**16)])
    await answer.add([Text("y" * (2**16 - 1))])
    await answer.add([Text("z")])

    kinds = [frame.kind.name for frame in broker.sent]
    assert kinds == ["TOKENS", "SNAPSHOT", "TOKENS", "TOKENS", "SNAPSHOT"]
    assert broker.sent[-1].first == broker.sent[-2].next_index


async def test_a_snapshot_comes_after_30_seconds_of_new_text() -> None:
    broker, clock = FakeBroker(), Clock()
    answer = answer_to(broker, clock=clock)

    await answer.add([Text("x")])
    clock.now = 30.0
    await answer.add([Text("y")])

    assert broker.sent[-1].kind is FrameKind.SNAPSHOT
    assert broker.sent[-1].body == b'{"text":"xy","thinking":"","tool_calls":[]}'


async def test_what_passes_the_bound_is_left_out() -> None:
    broker = FakeBroker()
    answer = answer_to(broker, limit=5)

    await answer.add([Text("abc"), Text("def"), Text("ghi")])

    assert answer.full
    assert broker.text == "abcde"
    assert answer.said().text == "abcde"


async def test_many_readers_who_ask_at_once_get_one_snapshot() -> None:
    broker, clock = FakeBroker(), Clock()
    answer = answer_to(broker, clock=clock)
    await answer.add([Text("Hello")])
    for _ in range(100):
        await answer.resend()
    assert len(broker.frames_of(FrameKind.SNAPSHOT)) == 1
    clock.now += 0.5
    await answer.resend()
    assert len(broker.frames_of(FrameKind.SNAPSHOT)) == 2
