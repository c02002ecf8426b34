"""Budgets over HTTP: who is refused, how that reads, and what is told beforehand."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from services.api.access.key_admin import KeyAdmin, Wish
from services.api.settings import Settings
from shared.contracts.ids import UserId
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.whole_world import WholeWorld
from tests.fakes.api.world import client_of

ADDRESS = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
SAID: dict[str, Any] = {"message": "Hello"}


@pytest.fixture
def world() -> WholeWorld:
    """Each of its answers takes eight tokens."""
    return WholeWorld()


@pytest.fixture
async def http(world: WholeWorld) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(world, budgeted(16)) as client:
        yield client


def budgeted(tokens: int = 0, **more: object) -> Settings:
    prices = '{"demo": {"prompt": 1, "completion": 2}}'
    options: dict[str, Any] = {"tokens_per_month": tokens, "prices": prices, **more}
    return quick_settings(**options)


async def used_up(http: httpx.AsyncClient, *, by: int = 2) -> None:
    for _ in range(by):
        assert (await http.post(ADDRESS, json=ASK)).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_is_openais_and_says_that_trying_again_is_no_use(
    http: httpx.AsyncClient, world: WholeWorld, stream: bool
) -> None:
    await used_up(http)
    refused = await http.post(ADDRESS, json={**ASK, "stream": stream})
    assert refused.status_code == 429
    assert refused.json() == {
        "error": {
            "message": "Your budget of this month is used up: 16 of 16 tokens. "
            "It is renewed on 2025-02-01, UTC.",
            "type": "insufficient_quota",
            "param": None,
            "code": "insufficient_quota",
        }
    }
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers
    assert "retry-after-ms" not in refused.headers
    assert len(world.journal.accepted_events) == 2


async def test_who_has_used_up_the_month_stands_in_the_audit(http: httpx.AsyncClient) -> None:
    await used_up(http)
    with capture_logs() as lines:
        await http.post(ADDRESS, json=ASK)
    (line,) = [it for it in lines if it["event"] in ("audit", "http_request")]
    assert (line["action"], line["actor"]) == ("request.refuse", "local")
    assert (line["object"], line["outcome"]) == (f"POST {ADDRESS}", "insufficient_quota")


async def test_strangers_have_no_month_but_the_limits_of_their_address(world: WholeWorld) -> None:
    settings = budgeted(16, auth="open", requests_per_minute=4)
    async with client_of(world, settings) as http:
        answers = [await http.post(ADDRESS, json=ASK) for _ in range(5)]
        assert (await http.get("/api/chat/budget/")).status_code == 401
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"
    assert world.counters.entries == {}
    assert len(world.meters.entries) == 1


@pytest.mark.parametrize("face", ["/api/chat", "/ai-chat/api"])
async def test_turns_of_sessions_are_refused_in_every_way_and_leave_nothing(
    http: httpx.AsyncClient, world: WholeWorld, face: str
) -> None:
    made = await http.post(f"{face}/sessions/", json={"model": "demo"})
    session = f"{face}/sessions/{made.json()['id']}"
    turn = await http.post(f"/api/chat/sessions/{made.json()['id']}/send_message/", json=SAID)
    asked, said = turn.json()["userMessage"]["id"], turn.json()["aiMessage"]["id"]
    await used_up(http, by=1)
    refused = [
        await http.post(f"{session}/send_message/", json=SAID),
        await http.post(f"{session}/send_message/", json={**SAID, "stream": True}),
        await http.post(f"{session}/messages/{said}/regenerate/"),
        await http.patch(f"{session}/messages/{asked}/", json=SAID),
        await http.post(ADDRESS, json={**ASK, "sessionId": made.json()["id"]}),
    ]
    assert [each.status_code for each in refused] == [429] * 5
    assert {each.json()["error"]["code"] for each in refused} == {"insufficient_quota"}
    assert {each.headers["x-should-retry"] for each in refused} == {"false"}
    page = await http.get(f"{session}/messages/")
    assert [message["id"] for message in page.json()["messages"]] == [asked, said]
    # The session is free for whoever asks in a month.
    assert len(world.journal.accepted_events) == 2


async def test_an_answer_to_a_key_that_was_used_is_given_again_without_a_budget(
    http: httpx.AsyncClient,
) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await http.post(ADDRESS, json=ASK, headers=key)
    await used_up(http, by=1)
    again = await http.post(ADDRESS, json=ASK, headers=key)
    assert again.status_code == 200
    assert again.json()["id"] == first.json()["id"]
    other = await http.post(ADDRESS, json=ASK, headers={"Idempotency-Key": "k2"})
    assert other.status_code == 429


async def test_money_is_told_as_text_and_tokens_as_numbers_on_both_faces(world: WholeWorld) -> None:
    async with client_of(world, budgeted(100, money_per_month="0.000020")) as http:
        await used_up(http, by=1)
        camel = (await http.get("/api/chat/budget/")).json()
        snake = (await http.get("/ai-chat/api/budget")).json()
        assert camel == {
            "month": "2025-01",
            "renewedOn": "2025-02-01",
            "currency": "USD",
            "budgets": [
                {
                    "of": "user",
                    "tokens": {"limit": 100, "used": 8, "remaining": 92},
                    "money": {"limit": "0.000020", "used": "0.000013", "remaining": "0.000007"},
                }
            ],
        }
        assert snake["renewed_on"] == camel["renewedOn"]
        assert snake["budgets"] == camel["budgets"]
        await used_up(http, by=1)
        over = (await http.get("/api/chat/budget/")).json()["budgets"][0]
        assert over["money"]["remaining"] == "0.000000"
        refused = await http.post(ADDRESS, json=ASK)
    assert "0.000026 of 0.000020 USD" in refused.json()["error"]["message"]


async def test_who_has_no_budget_is_told_so(world: WholeWorld) -> None:
    async with client_of(world, budgeted()) as http:
        told = (await http.get("/api/chat/budget/")).json()
    assert (told["month"], told["budgets"]) == ("2025-01", [])


async def test_a_key_is_made_with_a_budget_and_has_it(world: WholeWorld) -> None:
    admin = await KeyAdmin(world.asking).create(Wish(UserId("boss"), admin=True))
    async with client_of(world, budgeted(24, auth="required")) as http:
        made = await http.post(
            "/api/chat/keys/",
            json={"user": "ann", "tokensPerMonth": 8, "moneyPerMonth": "12.50"},
            headers={"Authorization": f"Bearer {admin.secret}"},
        )
        key = made.json()
        assert (key["tokensPerMonth"], key["moneyPerMonth"]) == (8, "12.50")
        listed = await http.get(
            "/ai-chat/api/keys/?user=ann", headers={"Authorization": f"Bearer {admin.secret}"}
        )
        (shown,) = listed.json()["keys"]
        assert (shown["tokens_per_month"], shown["money_per_month"]) == (8, "12.50")
        head = {"Authorization": f"Bearer {key['key']}"}
        assert (await http.post(ADDRESS, json=ASK, headers=head)).status_code == 200
        refused = await http.post(ADDRESS, json=ASK, headers=head)
        assert refused.json()["error"]["message"].startswith("This API key's budget of this month")
        told = (await http.get("/api/chat/budget/", headers=head)).json()["budgets"]
        assert [(line["of"], line["tokens"]["used"]) for line in told] == [("user", 8), ("key", 8)]
        assert told[1]["money"] == {
            "limit": "12.500000",
            "used": "0.000013",
            "remaining": "12.499987",
        }
        plain = {"Authorization": f"Bearer {await world.new_key('ann')}"}
        answers = [await http.post(ADDRESS, json=ASK, headers=plain) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert next(iter(world.journal.ends.values())).key_id == key["id"]


BAD = [
    ({"tokensPerMonth": 0}, "The field tokensPerMonth must be more than 0."),
    ({"tokensPerMonth": 1.5}, "The field tokensPerMonth must be a whole number."),
    ({"moneyPerMonth": 0}, "The field moneyPerMonth must be more than 0."),
    ({"moneyPerMonth": "-1"}, "The field moneyPerMonth must be more than 0."),
    ({"moneyPerMonth": "much"}, "The field moneyPerMonth must be a number."),
    ({"moneyPerMonth": "NaN"}, "The field moneyPerMonth must be a number."),
    ({"moneyPerMonth": True}, "The field moneyPerMonth must be a number."),
    (
        {"money_per_month": "0.0000001"},
        "The field moneyPerMonth must have at most 6 digits after the point.",
    ),
    ({"moneyPerMonth": 1e12}, "The field moneyPerMonth must be at most 1000000000."),
]


@pytest.mark.parametrize(("wish", "sentence"), BAD)
async def test_a_budget_that_is_none_is_refused_in_a_sentence(
    world: WholeWorld, wish: dict[str, Any], sentence: str
) -> None:
    async with client_of(world, budgeted()) as http:
        refused = await http.post("/api/chat/keys/", json={"user": "ann", **wish})
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == sentence


async def test_a_ticket_carries_the_budget_of_its_key(world: WholeWorld) -> None:
    wish = Wish(UserId("ann"), tokens_per_month=8)
    made = await KeyAdmin(world.asking).create(wish)
    async with client_of(world, budgeted(auth="required")) as http:
        head = {"Authorization": f"Bearer {made.secret}"}
        await http.post("/api/chat/tickets/", headers=head)
    (entry,) = world.tickets.entries.values()
    assert entry.tokens_per_month == 8


@pytest.mark.parametrize(
    ("what", "code"), [("broker", "broker_unavailable"), ("history", "history_unavailable")]
)
async def test_nothing_is_started_that_nobody_can_charge(
    world: WholeWorld, what: str, code: str
) -> None:
    async with client_of(world, budgeted(100)) as http:
        if what == "broker":
            world.counters.away = True
        else:
            assert isinstance(world.history, WholeHistory)
            world.history.scene.store.available = False
        refused = await http.post(ADDRESS, json=ASK)
        world.counters.away = False
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, code)
    assert world.queue.requests == {}


async def test_what_was_refused_for_another_reason_leaves_nothing_open(world: WholeWorld) -> None:
    async with client_of(world, budgeted(100, requests_per_minute=1)) as http:
        await used_up(http, by=1)
        refused = await http.post(ADDRESS, json=ASK)
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        (held,) = world.counters.entries.values()
        assert (held.counter.tokens, dict(held.counter.open), held.counter.doubts) == (8, {}, 0)


async def test_what_the_broker_may_have_queued_stays_open_until_history_knows(
    world: WholeWorld,
) -> None:
    async with client_of(world, budgeted(100)) as http:
        await used_up(http, by=1)
        world.queue.away = True
        assert (await http.post(ADDRESS, json=ASK)).status_code == 503
        world.queue.away = False
        (held,) = world.counters.entries.values()
        assert (held.counter.tokens, len(held.counter.open)) == (8, 1)


def test_money_cannot_be_limited_where_nothing_costs_any() -> None:
    with pytest.raises(ValidationError, match="unless API_PRICES has prices"):
        quick_settings(money_per_month="5")
    assert budgeted(money_per_month="5").api.money_per_month == 5
    with pytest.raises(ValidationError, match="API_USER_BUDGETS limits no money unless"):
        quick_settings(user_budgets='{"ann": {"money": 5}}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "valid dictionary"),
        ('{"ann": 5}', "valid dictionary or instance"),
        ('{"ann": {"tokens": -1}}', "greater than or equal to 0"),
        ('{"ann": {"tokens": 1.5}}', "valid integer"),
        ('{"ann": {"tokens": "many"}}', "valid integer"),
        ('{"ann": {"token": 5}}', "Extra inputs are not permitted"),
        ('{"ann": {"money": 0.0000001}}', "no more than 6 decimal places"),
        ('{"ann": {}, "ann": {"tokens": 1}}', "'ann' stands twice in the budgets of users"),
    ],
)
def test_budgets_of_users_that_say_nothing_clear_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        budgeted(user_budgets=text)


async def test_a_user_of_whom_the_settings_speak_has_that_month(world: WholeWorld) -> None:
    text = '{"local": {"tokens": 8, "money": 12.50}, "bob": {}}'
    settings = budgeted(10**6, user_budgets=text)
    assert settings.api.user_budgets[UserId("bob")].tokens == 0
    async with client_of(world, settings) as http:
        await used_up(http, by=1)
        (line,) = (await http.get("/api/chat/budget/")).json()["budgets"]
        assert line["tokens"] == {"limit": 8, "used": 8, "remaining": 0}
        assert line["money"]["limit"] == "12.500000"
        refused = await http.post(ADDRESS, json=ASK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
