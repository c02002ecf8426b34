"""Which engines can go on from a piece of an answer: found out by asking, and remembered."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from services.inference_worker.ability import PROBE_SEED, Ability
from services.inference_worker.ports import Batch, Finish, Part, Text, Thinking
from shared.contracts.completions import RunCompletion
from shared.errors import BrokerUnavailable, EngineUnavailable
from tests.fakes.inference_worker.broker import FakeBroker

SENTENCE = ["The", " sea", " is", " wide", " and", " old", " and", " cold", " at", " night"]


class Talker:
    """An engine that says what a function makes of the answer so far."""

    def __init__(self, says: Callable[[str], list[Part]]) -> None:
        self.says = says
        self.asked: list[RunCompletion] = []

    async def stream(self, run: RunCompletion) -> AsyncGenerator[Batch]:
        """See ``Engine``."""
        self.asked.append(run)
        last = run.messages[-1]
        parts = self.says(last.text() if last.role == "assistant" else "")
        yield Batch(parts[: run.sampling.max_tokens], Finish("length"))


def begins_anew(_so_far: str) -> list[Part]:
    return [Text(word) for word in SENTENCE]


def says_something_else(so_far: str) -> list[Part]:
    return [Text(word) for word in (["As", " I", " said", ":"] if so_far else SENTENCE)]


def says_nothing_more(so_far: str) -> list[Part]:
    return [] if so_far else [Text(word) for word in SENTENCE]


def only_thinks(_so_far: str) -> list[Part]:
    return [Thinking(word) for word in SENTENCE]


def repeats(so_far: str) -> list[Part]:
    whole = "".join(SENTENCE)
    assert whole.startswith(so_far)
    return [Text(whole[len(so_far) :])] if so_far else [Text(word) for word in SENTENCE]


def ability(engine: Talker, broker: FakeBroker | None = None) -> Ability:
    return Ability(engine, broker or FakeBroker(), lambda model: f"print of {model}")


@pytest.mark.parametrize(
    ("says", "able"),
    [
        (repeats, True),
        (begins_anew, False),
        (says_something_else, False),
        (says_nothing_more, False),
        (only_thinks, False),
    ],
)
async def test_a_model_that_says_the_second_half_can_continue(
    says: Callable[[str], list[Part]], able: bool
) -> None:
    engine = Talker(says)
    assert await ability(engine).continues("m") is able
    assert all(
        (run.sampling.temperature, run.sampling.seed, run.think) == (0, PROBE_SEED, False)
        for run in engine.asked
    )


async def test_each_model_is_asked_once_however_many_want_to_know() -> None:
    engine = Talker(repeats)
    knows = ability(engine)

    assert await asyncio.gather(*(knows.continues("m") for _ in range(5))) == [True] * 5
    assert len(engine.asked) == 2


async def test_what_another_worker_found_out_is_not_asked_again() -> None:
    broker = FakeBroker()
    await ability(Talker(repeats), broker).continues("m")
    engine = Talker(begins_anew)

    assert await ability(engine, broker).continues("m")
    assert (engine.asked, broker.abilities) == ([], {"print of m": True})


class Forgetful(FakeBroker):
    """A broker that is away."""

    async def recall(self, fingerprint: str) -> bool | None:
        raise BrokerUnavailable("away")

    async def remember(self, fingerprint: str, *, able: bool) -> None:
        raise BrokerUnavailable("away")


async def test_a_broker_that_is_away_only_costs_the_memory() -> None:
    assert await ability(Talker(repeats), Forgetful()).continues("m")


async def test_an_engine_that_cannot_be_asked_leaves_the_question_open() -> None:
    def away(_so_far: str) -> list[Part]:
        raise EngineUnavailable("away")

    engine = Talker(away)
    knows = ability(engine)
    with pytest.raises(EngineUnavailable):
        await knows.continues("m")
    engine.says = repeats
    assert await knows.continues("m")


class Loading(Talker):
    """Takes for ever to load one of its models."""

    async def stream(self, run: RunCompletion) -> AsyncGenerator[Batch]:
        """See ``Engine``."""
        if run.model == "large":
            await asyncio.Event().wait()
        async for batch in super().stream(run):
            yield batch


async def test_a_model_that_is_being_loaded_holds_up_no_other() -> None:
    asked = ability(Loading(repeats))
    loading = asyncio.create_task(asked.continues("large"))
    await asyncio.sleep(0)

    assert await asyncio.wait_for(asked.continues("small"), 2)
    loading.cancel()
