"""The life of a request: every path has exactly one end, in the order that loses nothing."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta

import pytest

from services.inference_worker.ports import Batch, Finish, Text
from services.inference_worker.sse import ChunkTemplate
from services.inference_worker.stop import StopReason, StopSignal
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId
from shared.errors import (
    ChatError,
    ContextLengthExceeded,
    EngineBusy,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    ModelNotFound,
)
from tests.fakes.inference_worker.broker import FakeBroker
from tests.fakes.inference_worker.one_worker import OneWorker
from tests.fakes.inference_worker.requests import ID, NOON, request
from tests.fakes.inference_worker.scripted_engine import Step, stop, words
from tests.support.waiting import eventually

IN_ORDER = ["completed", "END", "ack"]


async def test_an_answer_is_recorded_then_told_then_acknowledged() -> None:
    world = OneWorker([words("Hel", "lo"), stop(prompt=7, completion=2)])

    end = await world.run()

    assert world.last_steps == IN_ORDER
    assert (end.status, end.text, end.finish_reason) == ("completed", "Hello", "stop")
    assert (end.attempts, end.events, end.error) == (1, 3, None)
    assert end.usage is not None
    assert end.usage.model_dump() == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "estimated": False,
    }
    assert end.timings.first_token_ms is not None
    assert world.broker.text == "Hello"


async def test_an_end_says_with_which_key_it_was_asked_for() -> None:
    world = OneWorker([words("Hello"), stop(completion=1)], run=request(key_id="k"))

    end = await world.run()

    assert end.key_id == "k"


async def test_the_end_frame_is_the_event_without_its_text() -> None:
    world = OneWorker([words("Hello"), stop(completion=1)])

    end = await world.run()

    (frame,) = world.broker.frames_of(FrameKind.END)
    assert CompletionCompleted.from_bytes(frame.body) == end.model_copy(update={"text": ""})
    assert (frame.first, frame.events, frame.text_length, frame.tokens) == (2, 0, 5, 1)


async def test_an_empty_answer_is_opened_before_its_end() -> None:
    world = OneWorker([stop(completion=0)])

    end = await world.run()

    assert [frame.kind.name for frame in world.broker.sent] == ["HEARTBEAT", "TOKENS", "END"]
    assert end.events == 1


async def test_an_answer_at_its_bound_ends_with_length_and_closes_the_engine() -> None:
    world = OneWorker([words("x" * 500), words("x" * 2000), words("never read")])
    world.broker.room = 8 * 1000

    end = await world.run()

    assert (end.status, end.finish_reason, len(end.text)) == ("completed", "length", 1000)


async def test_an_engine_that_restarts_before_its_first_word_is_waited_for() -> None:
    refused = [EngineUnavailable("connection refused")]
    world = OneWorker(refused, refused, refused, refused, [words("Hello"), stop()])

    assert (await world.run()).text == "Hello"


@pytest.mark.parametrize("error", [EngineBusy("b"), EngineUnavailable("u"), EngineError("cut")])
async def test_an_engine_that_fails_before_its_first_word_is_asked_once_more(
    error: ChatError,
) -> None:
    world = OneWorker([error], [words("Hello"), stop()])

    end = await world.run()

    assert (end.status, end.text, end.attempts) == ("completed", "Hello", 1)
    assert len(world.engine.asked) == 2


async def test_an_engine_that_fails_twice_before_its_first_word_is_a_failure_without_usage() -> (
    None
):
    world = OneWorker([EngineBusy("queue full")], [EngineBusy("queue full")])

    end = await world.run()

    assert world.last_steps == IN_ORDER
    assert end.error is not None
    assert (end.status, end.error.code, end.events, end.usage) == ("failed", "engine_busy", 0, None)
    assert world.broker.frames_of(FrameKind.TOKENS) == []


@pytest.mark.parametrize(
    "error", [ModelNotFound("who?"), ContextLengthExceeded("too long"), RuntimeError("a mistake")]
)
async def test_what_a_second_try_cannot_mend_is_not_tried_again(error: Exception) -> None:
    world = OneWorker([error])

    end = await world.run()

    assert world.last_steps == IN_ORDER
    assert end.error is not None
    assert end.error.code == getattr(error, "code", "internal_error")
    assert len(world.engine.asked) == 1


async def test_a_model_that_the_engine_does_not_have_is_reported() -> None:
    world = OneWorker([ModelNotFound("who?")])
    await world.run()
    assert world.missing == ["model"]


async def test_an_engine_that_fails_after_tokens_leaves_the_partial_and_an_honest_end() -> None:
    world = OneWorker([words("Hel"), EngineTimeout("quiet for 60 s")])

    end = await world.run()

    assert world.last_steps == IN_ORDER
    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "engine_timeout", "Hel")
    assert (len(world.engine.asked), end.continued_at) == (1, None)
    assert end.usage is not None
    assert end.usage.estimated
    assert end.usage.completion_tokens == 1


async def test_a_missing_count_of_the_prompt_is_estimated_and_marked() -> None:
    world = OneWorker([words("Hi"), stop(prompt=None, completion=1)], run=request("x" * 40))

    end = await world.run()

    assert end.usage is not None
    assert (end.usage.prompt_tokens, end.usage.estimated) == (94, True)


async def test_a_cancel_before_the_first_token_closes_the_engine_and_ends_it() -> None:
    world = OneWorker([asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.engine.open == 1)

    assert world.broker.asked is not None
    world.broker.asked.cancel()
    world.broker.asked.cancel()
    await running

    assert world.engine.open == 0
    assert world.last_steps == IN_ORDER
    assert (world.broker.end.status, world.broker.end.text) == ("cancelled", "")


async def test_a_cancel_after_tokens_keeps_them() -> None:
    world = OneWorker([words("Hel"), asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.broker.text == "Hel")

    world.stop.set(StopReason.CANCELLED)
    await running

    end = world.broker.end
    assert (end.status, end.text, end.error) == ("cancelled", "Hel", None)
    assert end.usage is not None
    assert end.usage.estimated


async def test_a_tombstone_found_at_the_pull_ends_it_before_any_engine() -> None:
    world = OneWorker()
    world.broker.tombstones.add(ID)

    end = await world.run()

    assert (end.status, end.usage) == ("cancelled", None)
    assert world.engine.asked == []
    assert world.last_steps == IN_ORDER


async def test_a_tombstone_found_by_the_heartbeat_stops_it() -> None:
    world = OneWorker([words("Hel"), asyncio.Event()], ack_wait=0.04)
    running = world.start()
    await eventually(lambda: world.broker.text == "Hel")

    world.broker.tombstones.add(ID)
    await running

    assert world.broker.end.status is CompletionStatus.CANCELLED


async def test_the_heartbeat_goes_on_while_the_engine_is_quiet() -> None:
    world = OneWorker([asyncio.Event()], ack_wait=0.04)
    running = world.start()

    await eventually(lambda: world.broker.log.count("in_progress") >= 3)
    assert len(world.broker.frames_of(FrameKind.HEARTBEAT)) >= 3
    world.stop.set(StopReason.CANCELLED)
    await running


async def test_the_deadline_counts_from_the_pull_and_keeps_the_partial() -> None:
    run = request(generating_deadline=timedelta(seconds=60.05))
    world = OneWorker([words("Hel"), asyncio.Event()], run=run, pulled=60)

    end = await world.run()

    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "deadline_exceeded", "Hel")
    assert world.last_steps == IN_ORDER


async def test_at_shutdown_a_request_without_tokens_goes_to_another_worker() -> None:
    world = OneWorker([asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.engine.open == 1)

    world.stop.set(StopReason.SHUTDOWN)
    await running

    assert world.broker.log[-1] == "give_back"
    assert world.last_steps == []


async def test_at_shutdown_an_answer_that_nobody_could_continue_ends_with_an_error() -> None:
    world = OneWorker(
        [words("{"), asyncio.Event()], run=request(response_format={"type": "json_object"})
    )
    running = world.start()
    await eventually(lambda: world.broker.text == "{")

    world.stop.set(StopReason.SHUTDOWN)
    await running

    end = world.broker.end
    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "server_shutdown", "{")


async def test_at_shutdown_an_answer_that_began_goes_to_another_worker_without_an_end() -> None:
    world = OneWorker([words("Hel"), asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.broker.text == "Hel")

    world.stop.set(StopReason.SHUTDOWN)
    await running

    assert world.broker.log[-1] == "give_back"
    assert world.last_steps == []


async def test_an_end_that_exists_is_told_and_acknowledged_without_an_engine() -> None:
    first = OneWorker([words("Hello"), stop()])
    end = await first.run()
    again = OneWorker(deliveries=2)
    again.broker.ends[ID] = end.to_bytes()

    await again.run()

    assert again.engine.asked == []
    assert again.broker.log == ["call_off", "END", "ack"]
    (frame,) = again.broker.frames_of(FrameKind.END)
    assert CompletionCompleted.from_bytes(frame.body).events == end.events


async def test_an_end_that_another_worker_recorded_first_is_the_one_that_is_told() -> None:
    world = OneWorker([words("Mine"), stop()])
    other = await OneWorker([words("Other answer"), stop()]).run()

    def somebody_else_is_faster(frame: Frame) -> None:
        world.broker.ends[ID] = other.to_bytes()

    world.broker.on_send = somebody_else_is_faster
    await world.run()

    (frame,) = world.broker.frames_of(FrameKind.END)
    assert frame.text_length == len("Other answer")
    assert world.last_steps == IN_ORDER


async def test_its_own_end_recorded_by_a_call_that_seemed_to_fail_is_just_its_own() -> None:
    world = OneWorker([words("Mine"), stop()])
    world.broker.failures = 3

    end = await world.run()

    assert end.text == "Mine"
    assert world.last_steps == IN_ORDER


async def test_a_broker_that_is_away_at_the_end_is_waited_for() -> None:
    world = OneWorker([words("Hi"), stop()])
    world.broker.failures = 20
    await world.run()
    assert world.last_steps == IN_ORDER


async def test_a_request_of_which_nothing_is_kept_runs_under_a_number_of_its_own() -> None:
    world = OneWorker([words("Hi"), stop()], deliveries=5)

    end = await world.run()

    assert (end.status, end.text, end.attempts, end.ended_by) == ("completed", "Hi", 1, 5)
    assert {frame.attempt for frame in world.broker.sent} == {5}
    assert "TAKEOVER" not in world.broker.log


async def test_a_takeover_that_the_broker_has_lost_lends_its_number_to_nobody() -> None:
    world = OneWorker([words("Hi"), stop()], deliveries=4)
    world.broker.stored = [(4, Frame(FrameKind.HEARTBEAT, 1, 0, 0, 0, 0, 0, b""))]

    end = await world.run()

    assert (end.attempts, end.ended_by) == (2, 4)
    assert {frame.attempt for frame in world.broker.sent} == {4}


async def test_of_two_successors_with_one_number_the_later_one_leaves_it_to_the_other() -> None:
    world = OneWorker([words("Hi"), stop()], deliveries=2)
    world.broker.stored = [(4, Frame(FrameKind.HEARTBEAT, 1, 0, 0, 0, 0, 0, b""))]
    # It marks between this one's reading and its mark.
    world.broker.before_takeover = [(5, Frame(FrameKind.TAKEOVER, 2, 0, 0, 0, 0, 0, b""))]

    await world.completions.run(world.job, world.stop)

    assert world.engine.asked == []
    assert not {"completed", "ack", "give_back"} & set(world.broker.log)


async def test_a_predecessor_that_sent_nothing_is_followed_by_a_whole_answer() -> None:
    world = OneWorker([words("Hi"), stop()], deliveries=2)
    world.broker.stored = [(4, Frame(FrameKind.HEARTBEAT, 1, 0, 0, 0, 0, 0, b""))]

    end = await world.run()

    assert (end.status, end.text, end.attempts) == ("completed", "Hi", 2)
    assert world.broker.log[:4] == ["call_off", "TAKEOVER", "FROM", "HEARTBEAT"]
    assert {frame.attempt for frame in world.broker.sent} == {2}


async def test_a_predecessor_that_sent_tokens_is_followed_by_an_honest_end() -> None:
    template = ChunkTemplate(ID, NOON, "demo", include_usage=False)
    body = template.role() + template.text("Hel")
    world = OneWorker(deliveries=2)
    world.broker.stored = [(4, Frame(FrameKind.TOKENS, 1, 0, 2, 1, 3, 0, body))]

    end = await world.run()

    assert end.error is not None
    assert (end.status, end.error.code, end.text) == ("failed", "worker_lost", "Hel")
    assert (end.attempts, end.events) == (2, 2)
    assert world.engine.asked == []
    assert world.last_steps == IN_ORDER


async def test_a_first_delivery_of_what_another_worker_has_begun_is_left_to_that_one() -> None:
    world = OneWorker()
    world.broker.stored = [(4, Frame(FrameKind.HEARTBEAT, 1, 0, 0, 0, 0, 0, b""))]

    await world.completions.run(world.job, world.stop)

    assert world.broker.log == []
    assert world.engine.asked == []


TAKEOVER = Frame(FrameKind.TAKEOVER, 2, 0, 0, 0, 0, 0, b"")


async def test_a_worker_that_stood_still_does_not_end_what_another_one_answers_by_now() -> None:
    world = OneWorker([words("Mine"), stop()], pulled=11, ack_wait=10)
    world.broker.on_send = lambda _: world.broker.stored.append((5, TAKEOVER))

    await world.completions.run(world.job, world.stop)

    assert world.last_steps == []
    assert world.broker.ends == {}


async def test_a_worker_that_nobody_answered_for_an_ack_wait_looks_before_it_ends() -> None:
    release = asyncio.Event()
    world = OneWorker([release, words("Mine"), stop()], ack_wait=0.04)
    running = world.start()
    await eventually(lambda: world.engine.open == 1)
    world.broker.unanswered = True
    await eventually(lambda: world.broker.log.count("in_progress") >= 8)
    world.broker.unanswered = False
    await eventually(lambda: world.broker.log.count("in_progress") >= 10)

    world.broker.stored.append((5, TAKEOVER))
    release.set()
    await running

    assert world.last_steps == []


class LongLog(FakeBroker):
    """Takes longer than a beat to say what was sent."""

    async def frames(
        self, completion_id: CompletionId, after: int, up_to: int | None = None
    ) -> AsyncGenerator[tuple[int, Frame]]:
        """See ``Ledger``."""
        async for entry in super().frames(completion_id, after, up_to):
            await asyncio.sleep(0.02)
            yield entry


async def test_a_worker_that_stood_still_in_a_long_answer_finds_its_successor_in_the_end() -> None:
    world = OneWorker([words("Mine"), asyncio.Event()], pulled=1, ack_wait=0.4, broker=LongLog())
    beat = Frame(FrameKind.HEARTBEAT, 1, 0, 0, 0, 0, 0, b"")
    sent = [(number, beat) for number in range(1, 20)]
    world.broker.on_send = lambda _: world.broker.stored.__setitem__(
        slice(None), [*sent, (20, TAKEOVER)]
    )

    await asyncio.wait_for(world.completions.run(world.job, world.stop), 5)

    assert world.stop.reason is StopReason.YIELDED
    assert "in_progress" not in world.broker.log


async def test_a_successor_that_stood_still_before_its_mark_marks_nothing() -> None:
    world = OneWorker(deliveries=2, pulled=11, ack_wait=10)
    world.broker.stored = [(4, TAKEOVER), (5, Frame(FrameKind.HEARTBEAT, 2, 0, 0, 0, 0, 0, b""))]

    await world.completions.run(world.job, world.stop)

    assert world.broker.log == ["call_off"]
    assert world.engine.asked == []


async def test_a_successor_that_is_called_off_before_its_mark_marks_nothing() -> None:
    world = OneWorker(deliveries=2)
    world.broker.stored = [(4, TAKEOVER), (5, Frame(FrameKind.HEARTBEAT, 2, 0, 0, 0, 0, 0, b""))]
    world.stop.set(StopReason.YIELDED)

    await world.completions.run(world.job, world.stop)

    assert world.broker.log == ["call_off"]


async def test_a_worker_that_stood_still_takes_nothing_from_its_successor() -> None:
    cut: list[Step] = [EngineError("cut")]
    run = request(sampling={"seed": 1})
    world = OneWorker([words("Hel"), *cut], cut, run=run, pulled=11, ack_wait=10)
    world.broker.on_send = lambda _: world.broker.stored.append((5, TAKEOVER))

    await world.completions.run(world.job, world.stop)

    assert "give_back" not in world.broker.log


async def test_a_worker_that_stood_still_ends_what_nobody_has_taken_over() -> None:
    world = OneWorker([words("Mine"), stop()], pulled=11, ack_wait=10)

    end = await world.run()

    assert end.text == "Mine"
    assert world.last_steps == IN_ORDER


async def test_an_end_that_nobody_can_read_does_not_bring_the_request_back_for_ever() -> None:
    world = OneWorker(deliveries=2)
    world.broker.ends[ID] = b"no event"

    await world.completions.run(world.job, world.stop)

    assert world.last_steps == IN_ORDER


class Swallowing(FakeBroker):
    """Asked for a tombstone it swallows one cancellation, as ``wait_for`` of Python 3.11 may."""

    async def cancelled(self, completion_id: CompletionId) -> bool:
        """See ``Ledger``."""
        if "in_progress" in self.log:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return False


async def test_a_heartbeat_that_swallows_its_cancellation_keeps_no_slot() -> None:
    release = asyncio.Event()
    world = OneWorker([release, words("Hi"), stop()], ack_wait=0.4, broker=Swallowing())
    running = world.start()
    await eventually(lambda: "in_progress" in world.broker.log)

    release.set()
    async with asyncio.timeout(5):
        await running

    assert world.last_steps == IN_ORDER


async def test_a_second_delivery_of_what_runs_here_is_left_to_the_running_one() -> None:
    release = asyncio.Event()
    world = OneWorker([words("Hel"), release, words("lo"), stop()])
    running = world.start()
    await eventually(lambda: world.broker.text == "Hel")

    await world.completions.run(world.job, StopSignal())
    release.set()
    await running

    assert world.broker.end.text == "Hello"
    assert len(world.engine.asked) == 1


async def test_a_mistake_of_ours_ends_the_request_instead_of_bringing_it_back_for_ever() -> None:
    world = OneWorker(deliveries=2)
    broken = Frame(FrameKind.SNAPSHOT, 1, 3, 0, 2, 5, 0, b"not JSON")
    world.broker.stored = [(4, broken)]

    end = await world.run()

    assert end.error is not None
    assert (end.status, end.error.code) == ("failed", "internal_error")
    assert world.last_steps == IN_ORDER


async def test_a_request_that_nobody_can_read_is_buried_and_dropped() -> None:
    world = OneWorker()
    world.job.data = b'{"completion_id": 5}'

    await world.completions.run(world.job, world.stop)

    assert world.broker.log == ["buried", "drop"]
    ((data, reason),) = world.broker.buried
    assert data == world.job.data
    assert "messages: Field required" in reason


async def test_cancelling_the_task_leaves_nothing_behind() -> None:
    world = OneWorker([words("Hel"), asyncio.Event()])
    running = world.start()
    await eventually(lambda: world.broker.text == "Hel")

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert (world.engine.open, world.broker.listening) == (0, 0)
    assert world.last_steps == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_last_batch_may_carry_text_beside_the_finish() -> None:
    world = OneWorker([Batch([Text("Hi")], Finish("length", 1, 1))])
    end = await world.run()
    assert (end.text, end.finish_reason) == ("Hi", "length")
