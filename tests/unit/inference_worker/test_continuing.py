"""An answer that broke off goes on, exactly, or ends honestly: with workers and with engines."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.inference_worker.ports import Batch, Call, Finish, Thinking
from services.inference_worker.sse import ChunkTemplate, deltas
from services.inference_worker.stop import StopReason
from services.inference_worker.takeover import Past
from shared.contracts.completions import RunCompletion
from shared.contracts.frames import HANDED_OVER, Frame, FrameKind, PartialDigest
from shared.errors import ContextLengthExceeded, EngineError, EngineTimeout, EngineUnavailable
from tests.fakes.inference_worker.broker import FakeBroker
from tests.fakes.inference_worker.one_worker import OneWorker
from tests.fakes.inference_worker.requests import ID, NOON, request
from tests.fakes.inference_worker.scripted_engine import Step, stop, words
from tests.support.waiting import eventually

TEMPLATE = ChunkTemplate(ID, NOON, "demo", include_usage=False)
HEL = TEMPLATE.role() + TEMPLATE.text("Hel")


def taken_over(
    *scripts: list[Step],
    body: bytes = HEL,
    run: RunCompletion | None = None,
    able: bool = True,
    attempt: int = 1,
    lengths: tuple[int, int] = (3, 0),
) -> OneWorker:
    """A worker that is given what another one has begun."""
    events = body.count(b"\n\n")
    broker = FakeBroker(abilities={"demo:latest": able})
    sent = Frame(FrameKind.TOKENS, attempt, 0, events, events - 1, *lengths, body)
    broker.stored = [(4, sent)]
    return OneWorker(*scripts, broker=broker, run=run, deliveries=2)


def beat(attempt: int, body: bytes = b"") -> Frame:
    return Frame(FrameKind.HEARTBEAT, attempt, 0, 0, 0, 0, 0, body)


def answer_of(world: OneWorker) -> str:
    return world.broker.end.text


async def test_a_successor_continues_the_text_after_what_was_sent() -> None:
    world = taken_over([words("lo", " world"), stop(prompt=9, completion=2)])

    end = await world.run()

    assert (end.status, end.text, end.finish_reason) == ("completed", "Hello world", "stop")
    assert (end.attempts, end.continued_at, end.events) == (2, [2], 4)
    (asked,) = world.engine.asked
    assert [(m.role, m.content) for m in asked.messages][-1] == ("assistant", "Hel")
    assert end.usage is not None
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (8, 3)
    assert end.usage.estimated
    assert world.broker.text == "lo world"


async def test_readers_are_told_from_where_it_goes_on_before_any_word_of_it() -> None:
    world = taken_over([words("lo"), stop()])

    await world.run()

    assert world.broker.log[:4] == ["call_off", "TAKEOVER", "FROM", "HEARTBEAT"]
    (mark,) = world.broker.frames_of(FrameKind.FROM)
    digest = PartialDigest()
    digest.update(HEL)
    assert mark == Frame(FrameKind.FROM, 2, 2, 0, 1, 3, 0, digest.value())
    (tokens,) = world.broker.frames_of(FrameKind.TOKENS)
    assert (tokens.attempt, tokens.first, tokens.text_length) == (2, 2, 5)
    # The reader has seen the opening already.
    assert [*deltas(tokens.body)] == [{"content": "lo"}]


@pytest.mark.parametrize("sampling", [{"seed": 7}, {"temperature": 0}])
async def test_an_answer_that_is_fixed_is_replayed_and_its_counts_are_exact(
    sampling: dict[str, object],
) -> None:
    world = taken_over(
        [words("H", "ell"), words("o"), stop(prompt=7, completion=3)],
        run=request(sampling=sampling),
        able=False,
    )

    end = await world.run()

    assert (end.status, end.text, end.events) == ("completed", "Hello", 4)
    assert world.broker.text == "lo"
    assert [message.role for message in world.engine.asked[0].messages] == ["user"]
    assert end.usage is not None
    assert (end.usage.completion_tokens, end.usage.estimated) == (3, False)


async def test_a_replay_goes_on_inside_json() -> None:
    run = request(sampling={"seed": 7}, response_format={"type": "json_object"})
    body = TEMPLATE.role() + TEMPLATE.text("{")
    world = taken_over([words("{}"), stop()], body=body, run=run, lengths=(1, 0))

    assert (await world.run()).text == "{}"
    assert world.broker.text == "}"


async def test_a_replay_goes_on_after_calls_that_keep_their_ids() -> None:
    opening, arguments = TEMPLATE.call(0, "call_1", "f", "{}")
    body = TEMPLATE.role() + TEMPLATE.thinking("hm") + opening + arguments
    again = Batch([Thinking("hm"), Call("f", "{}"), Call("g", "[1]")])
    world = taken_over(
        [again, Batch((), Finish("tool_calls", 7, 9))],
        body=body,
        run=request(sampling={"seed": 7}),
        lengths=(0, 2),
    )

    end = await world.run()

    assert (end.status, end.text, end.thinking) == ("completed", "", "hm")
    assert [call.function.name for call in end.tool_calls] == ["f", "g"]
    assert end.tool_calls[0].id == "call_1"
    (tokens,) = world.broker.frames_of(FrameKind.TOKENS)
    sent = [call for delta in deltas(tokens.body) for call in delta["tool_calls"]]
    assert [call["index"] for call in sent] == [1, 1]


@pytest.mark.parametrize(
    "scripts",
    [
        [[words("Ha", "llo"), stop()]],
        [[words("He"), stop()]],
    ],
)
async def test_a_replay_that_says_something_else_is_an_honest_failure(
    scripts: list[list[Step]],
) -> None:
    world = taken_over(*scripts, run=request(sampling={"seed": 7}))

    end = await world.run()

    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "worker_lost", "Hel")
    assert world.broker.frames_of(FrameKind.TOKENS) == []


async def test_a_model_that_cannot_continue_is_an_honest_failure_without_a_word() -> None:
    world = taken_over(able=False)

    end = await world.run()

    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "worker_lost", "Hel")
    assert (end.attempts, end.continued_at) == (2, None)
    assert world.engine.asked == []


async def test_an_answer_whose_tokens_are_used_up_ends_with_length_without_a_call() -> None:
    world = taken_over(run=request(sampling={"max_tokens": 1}))

    end = await world.run()

    assert (end.status, end.finish_reason, end.text) == ("completed", "length", "Hel")
    assert world.engine.asked == []


async def test_an_answer_that_fills_the_window_with_its_prompt_ends_with_length() -> None:
    world = taken_over([ContextLengthExceeded("too long")])

    end = await world.run()

    assert (end.status, end.finish_reason, end.text) == ("completed", "length", "Hel")


async def test_a_stop_string_that_began_before_the_break_ends_the_answer() -> None:
    world = taken_over([words("l!", "never"), stop()], run=request(sampling={"stop": ["ell"]}))

    end = await world.run()

    assert (end.status, end.finish_reason, end.text) == ("completed", "stop", "Hel")


JSON: dict[str, Any] = {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(("changes", "able"), [(JSON, True), ({}, False)])
async def test_an_answer_that_nobody_has_seen_is_made_anew_where_it_cannot_go_on(
    changes: dict[str, Any], able: bool
) -> None:
    world = taken_over([words("Well"), stop()], run=request(whole=True, **changes), able=able)

    end = await world.run()

    assert (end.status, end.text, end.attempts, end.continued_at) == ("completed", "Well", 2, None)
    (mark,) = world.broker.frames_of(FrameKind.FROM)
    assert (mark.first, mark.body) == (0, PartialDigest().value())


async def test_an_answer_that_nobody_has_seen_goes_on_where_it_can() -> None:
    world = taken_over([words("lo"), stop()], run=request(whole=True))
    assert (await world.run()).text == "Hello"


async def test_an_engine_that_fails_in_what_nobody_has_seen_leaves_it_to_another_attempt() -> None:
    world = OneWorker([words("{"), EngineError("cut")], run=request(whole=True, **JSON))

    await world.completions.run(world.job, world.stop)

    assert world.broker.log[-1] == "give_back"
    assert world.broker.ends == {}


async def test_the_third_attempt_is_the_last() -> None:
    third = taken_over([words("lo"), stop()], attempt=2)
    third.broker.stored.insert(0, (1, beat(1)))
    assert (await third.run()).attempts == 3

    fourth = taken_over(attempt=3)
    fourth.broker.stored[:0] = [(1, beat(1)), (2, beat(2))]
    end = await fourth.run()
    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "worker_lost", "Hel")
    assert fourth.engine.asked == []


async def test_workers_that_stopped_in_order_are_no_failed_attempts() -> None:
    world = taken_over([words("lo"), stop()], attempt=3)
    for attempt in (1, 2):
        world.broker.stored.insert(attempt - 1, (attempt, beat(attempt, HANDED_OVER)))

    end = await world.run()

    assert (end.status, end.text, end.attempts) == ("completed", "Hello", 4)


async def test_a_worker_that_stops_says_so_before_it_gives_the_request_back() -> None:
    world = OneWorker([words("Hel"), asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.broker.text == "Hel")

    world.stop.set(StopReason.SHUTDOWN)
    await running

    assert world.broker.sent[-1].body == HANDED_OVER
    assert world.broker.log[-2:] == ["HEARTBEAT", "give_back"]


async def test_a_worker_that_wakes_up_and_has_a_successor_stops_without_a_sign_of_life() -> None:
    world = OneWorker([words("Hel"), asyncio.Event()], pulled=1, ack_wait=0.1)
    takeover = Frame(FrameKind.TAKEOVER, 2, 0, 0, 0, 0, 0, b"")
    world.broker.on_send = lambda _: world.broker.stored.append((9, takeover))

    await world.completions.run(world.job, world.stop)

    assert world.stop.reason is StopReason.YIELDED
    assert world.broker.ends == {}
    assert not {"in_progress", "give_back", "ack"} & set(world.broker.log)


async def test_all_attempts_together_have_one_deadline() -> None:
    run = request(generating_deadline=timedelta(seconds=60))
    world = taken_over([words("lo"), asyncio.Event()], run=run)
    world.broker.seconds_spent = 59.95

    end = await world.run()

    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "deadline_exceeded", "Hello")


async def test_a_tombstone_found_by_a_successor_ends_it_with_what_was_sent() -> None:
    world = taken_over()
    world.broker.tombstones.add(ID)

    end = await world.run()

    assert (end.status, end.text) == ("cancelled", "Hel")
    assert end.usage is not None
    assert end.usage.completion_tokens == 1


@pytest.mark.parametrize(
    "error", [EngineError("cut"), EngineTimeout("quiet"), EngineUnavailable("restarting")]
)
async def test_an_engine_that_fails_after_tokens_is_asked_to_go_on_once_more(
    error: Exception,
) -> None:
    world = OneWorker(
        [words("Hel"), error],
        [words("lo"), stop(prompt=9, completion=1)],
        broker=FakeBroker(abilities={"demo:latest": True}),
    )

    end = await world.run()

    assert (end.status, end.text, end.attempts) == ("completed", "Hello", 1)
    assert end.continued_at == [2]
    assert world.broker.text == "Hello"
    assert len(world.engine.asked) == 2


async def test_an_engine_that_fails_again_leaves_it_to_another_worker() -> None:
    world = OneWorker(
        [words("Hel"), EngineError("cut")],
        [EngineError("cut")],
        broker=FakeBroker(abilities={"demo:latest": True}),
    )

    await world.completions.run(world.job, world.stop)

    assert world.broker.log[-1] == "give_back"
    assert world.broker.ends == {}


async def test_an_engine_that_fails_in_the_last_attempt_ends_it_with_its_own_error() -> None:
    cut: list[Step] = [EngineError("the engine broke off")]
    world = taken_over(cut, cut, attempt=2)
    world.broker.stored.insert(0, (1, beat(1)))

    end = await world.run()

    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "engine_error", "Hel")


async def test_an_engine_that_fails_inside_json_ends_it_with_its_own_error() -> None:
    world = OneWorker(
        [words("{"), EngineError("cut")], run=request(response_format={"type": "json_object"})
    )

    end = await world.run()

    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "engine_error", "{")


async def test_a_worker_that_is_called_off_stops_its_engine_and_says_nothing_more() -> None:
    world = OneWorker([words("Hel"), asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.broker.text == "Hel")
    assert world.broker.asked is not None

    silent = await world.broker.asked.yield_to_successor()

    assert silent
    assert world.engine.open == 0
    assert world.broker.asked.last_index == 1
    await running
    assert world.broker.ends == {}
    assert "give_back" not in world.broker.log
    assert "ack" not in world.broker.log


async def test_an_answer_that_nobody_watches_is_cancelled() -> None:
    world = OneWorker(
        [words("Hel"), asyncio.Event()], run=request(watch_timeout="PT0.1S"), ack_wait=0.04
    )

    end = await world.run()

    assert (end.status, end.text) == ("cancelled", "Hel")


async def test_an_answer_that_is_watched_goes_on() -> None:
    go_on = asyncio.Event()
    world = OneWorker(
        [words("Hel"), go_on, words("lo"), stop()],
        run=request(watch_timeout="PT0.2S"),
        ack_wait=0.04,
    )
    running = world.start()
    await eventually(lambda: world.broker.text == "Hel")

    def beats() -> int:
        return world.broker.log.count("in_progress")

    async def watched() -> bool:
        assert world.broker.asked is not None
        world.broker.asked.watched()
        return beats() >= 60

    await eventually(watched, every=0.01)
    go_on.set()
    await running

    assert (world.broker.end.status, world.broker.end.text) == ("completed", "Hello")


async def test_a_broker_that_does_not_answer_is_no_sign_that_nobody_watches() -> None:
    world = OneWorker(
        [words("Hel"), asyncio.Event()], run=request(watch_timeout="PT0.1S"), ack_wait=0.04
    )
    world.broker.silent_after = 1
    running = world.start()

    await eventually(lambda: world.broker.log.count("in_progress") >= 40)

    assert world.stop.reason is None
    world.stop.set(StopReason.CANCELLED)
    await running


async def test_a_reader_that_asks_for_what_was_lost_gets_a_snapshot() -> None:
    world = OneWorker([words("Hel"), asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.broker.text == "Hel")
    assert world.broker.asked is not None

    await world.broker.asked.resend()

    (snapshot,) = world.broker.frames_of(FrameKind.SNAPSHOT)
    assert (snapshot.first, b'"text":"Hel"' in snapshot.body) == (2, True)
    world.stop.set(StopReason.CANCELLED)
    await running


async def test_who_yields_leaves_its_successor_what_the_broker_has_lost() -> None:
    world = OneWorker([words("Hel", "lo"), asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.broker.text == "Hello")
    assert world.broker.asked is not None

    assert await world.broker.asked.yield_to_successor()
    await running

    # The log has kept nothing of the frames before it.
    past = Past()
    past.add(world.broker.sent[-1])
    assert world.broker.sent[-1].kind is FrameKind.SNAPSHOT
    assert (past.partial().text, past.next_index) == ("Hello", world.broker.sent[-1].first)


async def test_who_yields_before_its_first_word_has_no_last_one() -> None:
    world = OneWorker([asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.engine.asked)
    assert world.broker.asked is not None

    assert await world.broker.asked.yield_to_successor()
    await running

    assert world.broker.frames_of(FrameKind.SNAPSHOT) == []
