"""A prompt that the engine finds too long is cut once more, if it may be."""

import pytest

from services.inference_worker.shortening import shortened
from shared.contracts.chat import Message, Role
from shared.contracts.completions import RunCompletion
from shared.errors import ContextLengthExceeded
from tests.fakes.inference_worker.one_worker import OneWorker
from tests.fakes.inference_worker.requests import request
from tests.fakes.inference_worker.scripted_engine import stop, words

TOO_LONG = ContextLengthExceeded("too long")


def asked(*roles: Role, droppable: int | None, omitted: int | None = None) -> RunCompletion:
    messages = [Message(role=role, content=f"{n:<40}") for n, role in enumerate(roles)]
    return request().model_copy(
        update={"messages": messages, "droppable": droppable, "omitted": omitted}
    )


TALK: tuple[Role, ...] = ("system", "user", "assistant", "user", "assistant", "user")


def test_the_older_half_goes_and_a_question_comes_first() -> None:
    run = shortened(asked(*TALK, droppable=4, omitted=3))
    assert run is not None
    assert [message.text().strip() for message in run.messages] == ["0", "5"]
    assert (run.omitted, run.droppable) == (7, None)


@pytest.mark.parametrize("droppable", [None, 0])
def test_what_may_not_be_left_out_stays(droppable: int | None) -> None:
    assert shortened(asked(*TALK, droppable=droppable)) is None


def test_the_last_message_is_never_left_out() -> None:
    assert shortened(asked("system", "user", droppable=9)) is None


async def test_the_answer_says_how_much_the_model_was_not_shown() -> None:
    world = OneWorker([TOO_LONG], [words("Hi"), stop()], run=asked(*TALK, droppable=4))

    end = await world.run()

    assert (end.status, end.text, end.context_omitted) == ("completed", "Hi", 4)
    assert [len(run.messages) for run in world.engine.asked] == [6, 2]


async def test_it_is_cut_once_and_no_more() -> None:
    world = OneWorker([TOO_LONG], [TOO_LONG], run=asked(*TALK, droppable=4))

    end = await world.run()

    assert end.error is not None
    assert (end.status, end.error.code) == ("failed", "context_length_exceeded")
    assert len(world.engine.asked) == 2


async def test_a_plain_request_that_is_too_long_is_refused_at_once() -> None:
    world = OneWorker([TOO_LONG], run=asked(*TALK, droppable=None))

    end = await world.run()

    assert end.error is not None
    assert end.error.code == "context_length_exceeded"
    assert len(world.engine.asked) == 1
