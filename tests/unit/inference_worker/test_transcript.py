"""The bound on an answer."""

from services.inference_worker.ports import Call, Text, Thinking
from services.inference_worker.transcript import ANSWER_LIMIT, Transcript, answer_limit


def test_everything_counts_text_thinking_and_calls() -> None:
    transcript = Transcript(limit=10 + 128)

    assert transcript.take(Thinking("1234")) == Thinking("1234")
    assert transcript.take(Call("f", "{}")) == Call("f", "{}")
    assert transcript.take(Text("12345")) == Text("123")
    assert transcript.full
    assert transcript.take(Text("x")) is None


def test_an_answer_of_exactly_the_limit_is_not_full() -> None:
    transcript = Transcript(limit=4)
    assert transcript.take(Text("1234")) == Text("1234")
    assert not transcript.full


def test_the_bound_is_in_bytes_and_never_splits_a_character() -> None:
    transcript = Transcript(limit=5)
    assert transcript.take(Text("éé€")) == Text("éé")
    assert transcript.full


def test_a_call_that_does_not_fit_is_left_out_whole() -> None:
    transcript = Transcript(limit=128 + 5)
    assert transcript.take(Call("f", '{"a":1}')) is None
    assert transcript.full


def test_calls_without_arguments_do_not_outgrow_the_event_that_holds_them() -> None:
    limit = answer_limit(2**20)
    transcript = Transcript(limit)
    call = Call("", "{}")

    while transcript.take(call) is not None:
        transcript.called("call_" + 32 * "0", call)

    said = transcript.said(tokens=0, events=0)
    assert sum(len(one.model_dump_json()) for one in said.tool_calls) < 2**20


def test_the_limit_is_a_mebibyte_unless_the_broker_carries_less() -> None:
    assert answer_limit(8 * 2**20) == ANSWER_LIMIT
    assert answer_limit(2**20) == 2**17
