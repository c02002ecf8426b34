"""One reader of one answer: what it relays, and what it does about losses."""

import json

import pytest

from services.api.ports.mailbox import Mailbox
from services.api.streams.delivery import Delivery
from services.api.streams.relay import Relay
from services.api.streams.steps import Missing
from services.api.streams.whole import WholeAnswer
from shared.contracts.chat import CompletionStatus, FunctionCall, ToolCall
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId, UserId
from shared.errors import WorkerLost
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import FakeFrameLog, FakeJournal, SetClock

ID = CompletionId("chatcmpl-" + "0" * 32)


class Bench:
    """A relay with everything around it; each word is one event."""

    def __init__(self, *words: str, limit: int = 2**20) -> None:
        self.words = words
        self.clock = SetClock()
        self.journal = FakeJournal()
        self.log = FakeFrameLog()
        self.mailbox = Mailbox(limit, clock=self.clock.monotonic)
        self.missing: list[Missing] = []
        self.resends: list[int] = []
        self.relay = Relay(
            ID,
            self.mailbox,
            Delivery(self.encode, None),
            frames=self.log,
            journal=self.journal,
            clock=self.clock,
            resend=self.resends.append,
            silence=6,
            batch=limit,
        )

    def encode(self, missing: Missing) -> bytes:
        self.missing.append(missing)
        return f"[{missing.text}]".encode()

    def frame(self, index: int, *, attempt: int = 1, body: bytes | None = None) -> Frame:
        text = "".join(self.words[: index + 1])
        said = body or self.words[index].encode()
        return Frame(FrameKind.TOKENS, attempt, index, 1, index + 1, len(text), 0, said)

    def quiet(self, kind: FrameKind, first: int = 0, attempt: int = 1, body: bytes = b"") -> Frame:
        length = len("".join(self.words[:first]))
        return Frame(kind, attempt, first, 0, 0, length, 0, body)

    def completed(
        self,
        status: CompletionStatus = CompletionStatus.COMPLETED,
        tool_calls: list[ToolCall] | None = None,
    ) -> CompletionCompleted:
        return CompletionCompleted(
            completion_id=ID,
            user_id=UserId("local"),
            model="demo",
            status=status,
            created_at=NOON,
            completed_at=NOON,
            text="".join(self.words),
            tool_calls=tool_calls or [],
            events=len(self.words),
        )

    def end(self, status: CompletionStatus = CompletionStatus.COMPLETED) -> Frame:
        event = self.completed(status)
        self.journal.ends.setdefault(ID, event)
        body = event.model_copy(update={"text": ""}).to_bytes()
        return self.quiet(FrameKind.END, len(self.words), body=body)


async def test_what_waits_goes_out_as_one_piece() -> None:
    bench = Bench("a", "b", "c")
    for index in range(3):
        bench.mailbox.put(bench.frame(index))
    step = await bench.relay.step()
    assert step == (b"abc", None)
    bench.mailbox.put(bench.end())
    step = await bench.relay.step()
    assert step.data == b""
    assert step.end is not None
    assert bench.log.reads == []


async def test_a_gap_is_filled_from_the_log_before_anything_later_goes_out() -> None:
    bench = Bench("a", "b", "c", "d")
    bench.log.frames = [bench.frame(index) for index in range(3)]
    bench.mailbox.put(bench.frame(0))
    bench.mailbox.put(bench.frame(2))
    assert (await bench.relay.step()).data == b"abc"
    bench.mailbox.put(bench.frame(3))
    assert (await bench.relay.step()).data == b"d"


async def test_an_unfillable_gap_holds_everything_back_until_the_truth_is_there() -> None:
    bench = Bench("a", "b", "c", "d")
    bench.mailbox.put(bench.frame(0))
    bench.mailbox.put(bench.frame(2))
    assert (await bench.relay.step()).data == b"a"
    bench.mailbox.put(bench.frame(3))
    assert (await bench.relay.step()).data == b""
    bench.mailbox.put(bench.end())
    step = await bench.relay.step()
    assert step.data == b"[bcd]"
    assert step.end is not None
    assert bench.missing == [Missing("bcd", "", [], opening=False)]


async def test_a_gap_asks_the_log_again_only_after_a_second() -> None:
    bench = Bench("a", "b", "c")
    bench.mailbox.put(bench.frame(2))
    await bench.relay.step()
    bench.mailbox.put(bench.frame(2))
    await bench.relay.step()
    assert len(bench.log.reads) == 1
    assert bench.relay.due() == bench.clock.time + 1
    bench.clock.time += 1
    bench.log.frames = [bench.frame(index) for index in range(3)]
    assert (await bench.relay.step()).data == b"abc"


async def test_an_end_whose_text_cannot_be_read_yet_waits_for_it() -> None:
    bench = Bench("a", "b")
    bench.mailbox.put(bench.end())
    bench.journal.away = True
    step = await bench.relay.step()
    assert step == (b"", None)
    bench.journal.away = False
    bench.clock.time = bench.relay.due()
    step = await bench.relay.step()
    assert (step.data, step.end is not None) == (b"[ab]", True)
    assert bench.missing[0].opening


async def test_after_silence_the_journal_is_asked_and_then_only_now_and_then() -> None:
    bench = Bench("a", "b")
    bench.mailbox.put(bench.frame(0))
    await bench.relay.step()
    bench.clock.time += 5.9
    assert (await bench.relay.step()).end is None
    bench.clock.time += 0.2
    await bench.relay.step()
    assert bench.relay.due() == bench.clock.time + 6
    bench.journal.ends[ID] = bench.completed()
    bench.clock.time += 6
    step = await bench.relay.step()
    assert (step.data, step.end is not None) == (b"[b]", True)


@pytest.mark.parametrize("stored", [True, False])
async def test_frames_that_come_while_the_journal_is_asked_are_relayed_as_they_were_said(
    stored: bool,
) -> None:
    bench = Bench("a", "b", "c")
    bench.log.frames = [bench.frame(0)]

    def meanwhile() -> None:
        for frame in (bench.frame(1), bench.frame(2)):
            if stored:
                bench.log.frames.append(frame)
            else:
                bench.mailbox.put(frame)

    bench.journal.ends[ID] = bench.completed()
    bench.journal.on_question = meanwhile
    bench.relay.alarm()
    step = await bench.relay.step()
    assert (step.data, step.end is not None) == (b"abc", True)
    assert bench.missing == []


async def test_heartbeats_are_no_silence() -> None:
    bench = Bench("a")
    bench.journal.ends[ID] = bench.completed()
    for _ in range(5):
        bench.clock.time += 3
        bench.mailbox.put(bench.quiet(FrameKind.HEARTBEAT))
        assert (await bench.relay.step()).end is None


async def test_an_alarm_looks_at_once() -> None:
    bench = Bench("a", "b")
    bench.log.frames = [bench.frame(0), bench.frame(1)]
    bench.journal.ends[ID] = bench.completed()
    bench.relay.alarm()
    assert bench.relay.due() <= bench.clock.time
    step = await bench.relay.step()
    assert (step.data, step.end is not None) == (b"ab", True)


async def test_a_mailbox_that_overflowed_reads_on_from_the_log_piece_by_piece() -> None:
    words = ["x" * 400] * 50
    bench = Bench(*words, limit=2000)
    bench.log.frames = [bench.frame(index) for index in range(50)]
    for frame in bench.log.frames:
        bench.mailbox.put(frame)
    bench.mailbox.put(bench.end())
    got, end, steps = b"", None, 0
    while end is None:
        bench.clock.time += 1
        step = await bench.relay.step()
        assert len(step.data) <= 2 * 2000 + 500
        got, end, steps = got + step.data, step.end, steps + 1
        if len(got) >= 400 * 50 and end is None:
            bench.mailbox.put(bench.end())
    assert got == "".join(words).encode()
    assert steps > 5


async def test_a_snapshot_in_the_log_bridges_its_hole() -> None:
    bench = Bench("a", "b", "c", "d")
    body = json.dumps({"text": "abc", "thinking": "", "tool_calls": []}).encode()
    bench.log.frames = [
        bench.frame(0),
        bench.frame(2),
        bench.quiet(FrameKind.SNAPSHOT, 3, body=body),
        bench.frame(3),
    ]
    bench.mailbox.put(bench.frame(0))
    bench.mailbox.put(bench.frame(3))
    assert (await bench.relay.step()).data == b"a[bc]d"


async def test_lost_parts_of_a_tool_call_are_an_error_not_a_guess() -> None:
    call = ToolCall(id="c", function=FunctionCall(name="f", arguments="{}"))
    bench = Bench("a", "b")
    bench.journal.ends[ID] = bench.completed(tool_calls=[call])
    bench.mailbox.put(bench.frame(0, body=b'{"delta":{"tool_calls":[{"index":0}]}}'))
    bench.mailbox.put(bench.end())
    assert (await bench.relay.step()).data.startswith(b'{"delta"')
    with pytest.raises(WorkerLost):
        await bench.relay.step()


async def test_tool_calls_of_which_nothing_was_sent_come_whole() -> None:
    call = ToolCall(id="c", function=FunctionCall(name="f", arguments="{}"))
    bench = Bench("a", "b")
    bench.journal.ends[ID] = bench.completed(tool_calls=[call])
    bench.mailbox.put(bench.frame(0))
    bench.mailbox.put(bench.end())
    await bench.relay.step()
    assert bench.missing == [Missing("b", "", [call], opening=False)]


async def test_an_end_shorter_than_what_was_relayed_is_an_error() -> None:
    bench = Bench("a", "b")
    for index in range(2):
        bench.mailbox.put(bench.frame(index))
    await bench.relay.step()
    body = bench.completed().model_copy(update={"events": 1}).to_bytes()
    bench.mailbox.put(bench.quiet(FrameKind.END, 1, body=body))
    with pytest.raises(WorkerLost):
        await bench.relay.step()


async def test_a_failed_end_is_not_repaired_but_told() -> None:
    bench = Bench("a", "b")
    bench.mailbox.put(bench.frame(0))
    bench.mailbox.put(bench.end(CompletionStatus.FAILED))
    step = await bench.relay.step()
    assert step.data == b"a"
    assert step.end is not None
    assert bench.missing == []


async def test_a_log_that_does_not_answer_costs_nothing_that_is_already_there() -> None:
    bench = Bench("a", "b", "c")
    bench.log.away = True
    bench.mailbox.put(bench.frame(0))
    bench.mailbox.put(bench.frame(2))
    assert (await bench.relay.step()).data == b"a"
    bench.log.away = False
    bench.log.frames = [bench.frame(index) for index in range(3)]
    bench.clock.time += 1
    assert (await bench.relay.step()).data == b"bc"


async def test_a_whole_answer_waits_for_its_end_or_for_silence() -> None:
    bench = Bench("a")
    mailbox = Mailbox(2**20, clock=bench.clock.monotonic, relays=False)
    reader = WholeAnswer(ID, mailbox, journal=bench.journal, clock=bench.clock, silence=6)
    mailbox.put(bench.frame(0))
    assert (await reader.step()).end is None
    mailbox.put(bench.quiet(FrameKind.END))
    assert (await reader.step()).end is None
    assert reader.due() == bench.clock.time + 0.1
    bench.journal.ends[ID] = bench.completed()
    bench.clock.time += 0.1
    assert (await reader.step()).end is not None

    silent = WholeAnswer(ID, mailbox, journal=bench.journal, clock=bench.clock, silence=6)
    assert (await silent.step()).end is None
    bench.clock.time += 6
    assert (await silent.step()).end is not None

    alarmed = WholeAnswer(ID, mailbox, journal=bench.journal, clock=bench.clock, silence=6)
    alarmed.alarm()
    assert (await alarmed.step()).end is not None
