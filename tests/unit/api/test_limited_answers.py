"""Limits over HTTP: who is refused and how, what is said about it, and what costs nothing."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from services.api.access.caller import Allowance, Caller
from services.api.completions.draining import Drain
from services.api.completions.orders import Order
from services.api.completions.turn_lease import TurnLeases
from services.api.deps import State
from services.api.ports.broker import Service
from services.api.settings import Settings
from services.api.streams.delivery import Delivery
from services.api.streams.sse import ChunkEncoder
from services.api.streams.watching import Watching
from services.api.wiring import build_state
from shared.contracts.chat import Message, Usage
from shared.contracts.completions import RunCompletion
from shared.contracts.ids import UserId, new_completion_id
from shared.errors import QueueFull, RateLimited
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.history import NOON
from tests.fakes.api.limits import FakeSlots
from tests.fakes.api.ports import SetClock
from tests.fakes.api.world import FakeWorld, client_of
from tests.support.waiting import eventually

ADDRESS = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}


def rates(response: httpx.Response) -> dict[str, str]:
    prefix = "x-ratelimit-"
    headers = response.headers
    return {name[len(prefix) :]: headers[name] for name in headers if name.startswith(prefix)}


@pytest.mark.parametrize("stream", [True, False])
async def test_the_one_too_many_is_told_when_to_come_again(stream: bool) -> None:
    world = FakeWorld()
    world.answer("Hi")
    async with client_of(world, quick_settings(requests_per_minute=2)) as http:
        answers = [await http.post(ADDRESS, json={**ASK, "stream": stream}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [rates(answer) for answer in answers] == [
        {"limit-requests": "2", "remaining-requests": "1", "reset-requests": "30s"},
        {"limit-requests": "2", "remaining-requests": "0", "reset-requests": "1m0s"},
        {"limit-requests": "2", "remaining-requests": "0", "reset-requests": "1m0s"},
    ]
    refused = answers[-1]
    assert refused.json()["error"] == {
        "message": "Rate limit reached: you may start 2 answers a minute. Try again in 30s.",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert refused.headers["retry-after"] == "30"
    assert refused.headers["retry-after-ms"] == "30000"
    assert len(world.journal.accepted_events) == 2


async def test_what_may_run_at_once_is_free_again_with_the_end() -> None:
    world = FakeWorld()
    async with client_of(world, quick_settings(concurrent_requests=3)) as http:
        running = [asyncio.create_task(http.post(ADDRESS, json=ASK)) for _ in range(3)]
        await eventually(lambda: len(world.queue.requests) == 3)
        refused = await http.post(ADDRESS, json=ASK)
        assert refused.status_code == 429
        assert refused.json()["error"]["message"] == (
            "Limit reached: 3 answers of yours are running, which is as many as may run at once. "
            "Try again when one has ended."
        )
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert refused.headers["retry-after"] == "1"

        world.answer("Hi")
        commands = [RunCompletion.from_bytes(data) for data in world.queue.requests.values()]
        world.queue.on_request(commands[0])
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED, timeout=5)
        assert len(done) == 1
        # Before its client has heard of the end: whoever asks now finds the place free.
        assert (await http.post(ADDRESS, json=ASK)).status_code == 200
        for command in commands[1:]:
            world.queue.on_request(command)
        await asyncio.gather(*running)
    assert world.slots.held == 0


REFUSALS = {
    "no worker": lambda world: setattr(world.workers, "service", Service.NOBODY),
    "history behind": lambda world: setattr(world.backlog, "full", True),
    "queue full": lambda world: setattr(world.queue, "full", True),
    "events full": lambda world: setattr(world.journal, "full", True),
    "queue away": lambda world: setattr(world.queue, "away", True),
}


@pytest.mark.parametrize("why", REFUSALS)
async def test_a_refusal_costs_neither_a_request_nor_a_place(why: str) -> None:
    world = FakeWorld()
    REFUSALS[why](world)
    settings = quick_settings(requests_per_minute=2, concurrent_requests=1, tokens_per_minute=100)
    async with client_of(world, settings) as http:
        for _ in range(5):
            refused = await http.post(ADDRESS, json=ASK)
            assert refused.status_code in {404, 429, 503}
            assert refused.json()["error"]["code"] != "rate_limit_exceeded"
            await eventually(lambda: world.slots.held == 0)

        async def all_left() -> bool:
            left = rates(await http.post(ADDRESS, json={"model": 5}))
            return (left["remaining-requests"], left["remaining-tokens"]) == ("2", "100")

        await eventually(all_left)


async def test_a_request_that_is_wrong_costs_nothing_and_is_told_what_is_left() -> None:
    world = FakeWorld()
    world.answer("Hi")
    async with client_of(world, quick_settings(requests_per_minute=5)) as http:
        await http.post(ADDRESS, json=ASK)
        wrong = await http.post(ADDRESS, json={**ASK, "temperature": 9})
    assert wrong.status_code == 400
    assert rates(wrong)["remaining-requests"] == "4"


async def test_the_answer_to_a_key_that_was_used_costs_nothing() -> None:
    world = FakeWorld()
    world.answer("Hi")
    key = {"Idempotency-Key": "k1"}
    settings = quick_settings(requests_per_minute=2, concurrent_requests=1)
    async with client_of(world, settings) as http:
        answers = [await http.post(ADDRESS, json=ASK, headers=key) for _ in range(4)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[-1].headers["idempotency-replayed"] == "true"
    assert [rates(answer)["remaining-requests"] for answer in answers] == ["1"] * 4


@pytest.mark.parametrize("what", ["meters", "slots"])
async def test_nothing_is_started_that_nobody_can_count(what: str) -> None:
    world = FakeWorld()
    world.answer("Hi")
    getattr(world, what).away = True
    settings = quick_settings(requests_per_minute=5, concurrent_requests=3)
    async with client_of(world, settings) as http:
        refused = await http.post(ADDRESS, json=ASK)
        getattr(world, what).away = False
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "broker_unavailable")
    assert world.queue.requests == {}


async def test_without_limits_nothing_is_counted_and_nothing_is_said() -> None:
    world = FakeWorld()
    world.answer("Hi")
    world.meters.away = world.slots.away = True
    async with client_of(world) as http:
        answers = [await http.post(ADDRESS, json=ASK) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200}
    assert rates(answers[0]) == {}


async def test_the_tokens_of_an_answer_are_charged_when_it_has_ended() -> None:
    world = FakeWorld()
    usage = Usage(prompt_tokens=70, completion_tokens=50, total_tokens=120)
    world.answer("Hi", usage=usage)
    async with client_of(world, quick_settings(tokens_per_minute=100)) as http:
        first = await http.post(ADDRESS, json=ASK)
        refused = await http.post(ADDRESS, json=ASK)
    # What five letters and a template may be at most is taken, until the engine has counted it.
    assert rates(first)["remaining-tokens"] == "23"
    assert (first.status_code, refused.status_code) == (200, 429)
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
    # A debt of twenty, and one more.
    assert refused.headers["retry-after-ms"] == "12600"
    assert refused.headers["retry-after"] == "13"


async def test_a_prompt_of_more_than_any_debt_is_charged_what_it_was_to_the_token() -> None:
    world = FakeWorld()
    world.answer("Hi", usage=Usage(prompt_tokens=190, completion_tokens=10, total_tokens=200))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    look = {"model": "demo", "messages": [{"role": "user", "content": [image] * 4}]}
    async with client_of(world, quick_settings(tokens_per_minute=100)) as http:
        first = await http.post(ADDRESS, json=look)
        refused = await http.post(ADDRESS, json=ASK)
    # No more than there is: the rest is charged when the engine has counted it.
    assert rates(first)["remaining-tokens"] == "0"
    assert (first.status_code, refused.status_code) == (200, 429)
    # A debt of a hundred, and one more.
    assert refused.headers["retry-after-ms"] == "60600"


async def test_other_requests_have_a_limit_of_their_own_that_answers_do_not_use() -> None:
    world = FakeWorld()
    world.answer("Hi")
    async with client_of(world, quick_settings(other_requests_per_minute=3)) as http:
        for _ in range(10):
            assert (await http.post(ADDRESS, json=ASK)).status_code == 200
        lists = [await http.get("/v1/models") for _ in range(4)]
        assert [each.status_code for each in lists] == [200, 200, 200, 429]
        error = lists[-1].json()["error"]
        assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
        assert error["message"].startswith(
            "Rate limit reached: you may ask 3 other things a minute."
        )
        assert lists[-1].headers["retry-after"] == "20"
        assert {(await http.get(path)).status_code for path in ("/healthz", "/readyz")} == {200}


async def test_attempts_that_start_nothing_are_other_requests() -> None:
    world = FakeWorld()
    async with client_of(world, quick_settings(other_requests_per_minute=3)) as http:
        attempts = [await http.post(ADDRESS, json={"model": 5}) for _ in range(4)]
    assert [each.status_code for each in attempts] == [400, 400, 400, 429]


def order(user: str, caller: Caller | None = None) -> Order:
    return Order(
        completion_id=new_completion_id(),
        created_at=NOON,
        user_id=UserId(user),
        model="demo",
        messages=[Message(role="user", content="Hi")],
        caller=caller,
    )


class Gateway:
    """The use cases alone, for callers that HTTP does not know yet."""

    def __init__(self, world: FakeWorld, settings: Settings) -> None:
        self.world, self.settings, self.drain = world, settings, Drain()

    async def state(self) -> State:
        async with self.world.open(self.settings) as opened:
            watching = Watching(opened.watchers, opened.clock, grace=60)
            leases = TurnLeases(opened.turns, opened.journal)
            return build_state(self.settings, opened, leases, watching, self.drain)

    async def started(self, state: State, caller: Caller, times: int) -> int:
        started = 0
        for _ in range(times):
            try:
                await state["completions"].start(order(caller.user_id, caller), None)
            except RateLimited:
                continue
            started += 1
        return started


async def test_two_users_do_not_touch_each_other() -> None:
    gateway = Gateway(FakeWorld(), quick_settings(requests_per_minute=4, concurrent_requests=3))
    state = await gateway.state()
    assert await gateway.started(state, Caller(UserId("alice")), 10) == 3
    assert await gateway.started(state, Caller(UserId("bob")), 10) == 3


async def test_a_key_with_numbers_of_its_own_is_counted_by_itself() -> None:
    gateway = Gateway(FakeWorld(), quick_settings(requests_per_minute=2, concurrent_requests=0))
    state, alice = await gateway.state(), UserId("alice")
    wide = Caller(alice, key_id="wide", allowance=Allowance(requests_per_minute=5))
    narrow = Caller(alice, key_id="narrow", allowance=Allowance(concurrent=1))
    free = Caller(alice, key_id="free", allowance=Allowance(requests_per_minute=0))
    assert await gateway.started(state, wide, 10) == 5
    assert await gateway.started(state, narrow, 10) == 1
    # The narrow one has used one of the user's two, and both keys of the user's share them.
    assert await gateway.started(state, Caller(alice, key_id="plain"), 10) == 1
    assert await gateway.started(state, Caller(alice), 10) == 0
    assert await gateway.started(state, free, 10) == 10


async def test_what_goes_on_at_another_gateway_is_renewed_no_more() -> None:
    world, clock = FakeWorld(), SetClock()
    world.slots = FakeSlots(clock)
    gateway = Gateway(world, quick_settings(concurrent_requests=3))
    state = await gateway.state()
    encoder = ChunkEncoder(new_completion_id(), "demo", NOON, include_usage=False)
    delivery = Delivery(encoder.missing, None)
    goes, _stays = [
        await state["completions"].start(replace(order("alice"), resumes=resumes), delivery)
        for resumes in (True, False)
    ]
    gateway.drain.begin()
    goes.abandon()
    assert world.slots.held == 2
    for _ in range(4):
        clock.time += 5
        await state["limits"].leases.renew()
    assert world.slots.held == 1


async def test_a_refusal_of_the_queue_is_not_taken_for_one_of_the_limits() -> None:
    world = FakeWorld()
    world.queue.full = True
    gateway = Gateway(world, quick_settings(requests_per_minute=1))
    state = await gateway.state()
    for _ in range(3):
        with pytest.raises(QueueFull):
            await state["completions"].start(order("alice"), None)
