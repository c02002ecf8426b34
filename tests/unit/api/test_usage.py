"""Usage, statistics, engines and status on both faces, over fakes."""

import csv
import io
from datetime import date
from typing import Any

import httpx
import pytest

from services.api.reports.accounting import period_of
from shared.contracts.history_health import HistoryHealth
from shared.contracts.usage import COUNTS, USAGE, Counts, UsageQuery, UsageReply, UsageRow
from shared.errors import BrokerUnavailable, ChatError, InvalidRequest
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.worker import announcement
from tests.fakes.api.world import FakeWorld, client_of

CAMEL, SNAKE = "/api/chat", "/ai-chat/api"
TODAY = date(2025, 1, 27)
PRICES = '{"dear*": {"prompt": 0.1, "completion": 2.000001}}'


def row(key: str, model: str = "demo", **changes: object) -> UsageRow:
    made = UsageRow(
        key=key,
        requests=2,
        prompt_tokens=10,
        completion_tokens=20,
        total_tokens=30,
        estimated=1,
        first_token_ms_mean=1.5,
        first_token_ms_p95=2,
        models={model: (10, 20)},
    )
    return made.model_copy(update=changes)


def using(world: FakeWorld, *rows: UsageRow, whole: UsageRow | None = None) -> None:
    """Let history answer with these."""
    reply = UsageReply(rows=list(rows), whole=whole or row("total"))
    world.asking.answer(USAGE, lambda _query: reply)
    world.asking.answer(COUNTS, lambda _query: Counts(sessions=3, messages=14))


async def test_usage_is_the_last_thirty_days_with_their_cost() -> None:
    world = FakeWorld()
    whole = row("total", models={"dear": (1_000_000, 1_000_000), "demo": (1, 1)})
    using(world, row("2025-01-27", "dear"), whole=whole)
    async with client_of(world, quick_settings(prices=PRICES, currency="EUR")) as client:
        answer = await client.get(f"{CAMEL}/usage/")
    assert answer.json() == {
        "firstDay": "2024-12-29",
        "lastDay": "2025-01-27",
        "group": "day",
        "currency": "EUR",
        "rows": [
            {
                "key": "2025-01-27",
                "requests": 2,
                "promptTokens": 10,
                "completionTokens": 20,
                "totalTokens": 30,
                "estimatedRequests": 1,
                "firstTokenMsMean": 1.5,
                "firstTokenMsP95": 2.0,
                "cost": "0.000041",
            }
        ],
        "total": {
            "requests": 2,
            "promptTokens": 10,
            "completionTokens": 20,
            "totalTokens": 30,
            "estimatedRequests": 1,
            "firstTokenMsMean": 1.5,
            "firstTokenMsP95": 2.0,
            "cost": "2.100001",
        },
    }
    (asked,) = world.asking.asked
    assert asked == UsageQuery(user_id="local", first=date(2024, 12, 29), last=TODAY)


async def test_days_and_group_are_asked_of_history_as_they_are_given() -> None:
    world = FakeWorld()
    using(world)
    async with client_of(world) as client:
        query = {"from": "2024-02-29", "to": "2024-03-01", "group": "model"}
        answer = await client.get(f"{SNAKE}/usage", params=query)
    assert answer.json()["first_day"] == "2024-02-29"
    assert world.asking.asked == [
        UsageQuery(user_id="local", first=date(2024, 2, 29), last=date(2024, 3, 1), group="model")
    ]


def keys(value: object) -> set[str]:
    if isinstance(value, list):
        return {key for each in value for key in keys(each)}
    if isinstance(value, dict):
        return set(value) | {key for each in value.values() for key in keys(each)}
    return set()


@pytest.mark.parametrize("path", ["usage", "health/stats", "health/llm_server", "status"])
async def test_each_face_answers_in_the_spelling_that_its_document_says(path: str) -> None:
    world = FakeWorld()
    using(world, row("2025-01-27"))
    async with client_of(world) as client:
        document = (await client.get("/openapi.json")).json()
        for face in (CAMEL, SNAKE):
            answer = (await client.get(f"{face}/{path}/")).json()
            operation = document["paths"][f"{face}/{path}"]["get"]
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            assert_fits(answer, schema, document)
            assert any("_" in key for key in keys(answer)) == (face == SNAKE)
            assert any(key != key.lower() for key in keys(answer)) == (face == CAMEL)


def assert_fits(value: object, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """The answer has exactly the properties that the document says."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, list):
        for each in value:
            assert_fits(each, schema["items"], document)
    elif isinstance(value, dict):
        assert set(value) == set(schema["properties"])
        for key, each in value.items():
            assert_fits(each, schema["properties"][key], document)


async def test_a_table_has_a_header_a_line_for_each_row_and_no_formula() -> None:
    world = FakeWorld()
    names = ['=HYPERLINK("x")', "+1", "-1", "@sum", "\t=1", "\uff1d1", 'a,"b"\nc', "demo"]
    using(world, *(row(name, name) for name in names))
    async with client_of(world) as client:
        answer = await client.get(f"{CAMEL}/usage/?format=csv&group=model")
    assert answer.headers["content-type"].startswith("text/csv; charset=utf-8")
    assert answer.headers["content-disposition"] == (
        'attachment; filename="usage-2024-12-29-2025-01-27-model.csv"'
    )
    header, *lines = csv.reader(io.StringIO(answer.text, newline=""))
    assert header == [
        "model",
        "requests",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "estimated_requests",
        "first_token_ms_mean",
        "first_token_ms_p95",
        "cost",
        "currency",
    ]
    assert [line[0] for line in lines] == [*(f"'{name}" for name in names[:6]), *names[6:]]
    assert lines[0][1:] == ["2", "10", "20", "30", "1", "1.5", "2.0", "0.000000", "USD"]
    assert answer.text.count("\r\n") == len(names) + 1


async def test_statistics_have_the_same_rows_by_day_and_by_model() -> None:
    world = FakeWorld()
    using(world)
    by = {
        "day": UsageReply(rows=[row("2025-01-27")], whole=row("total")),
        "model": UsageReply(
            rows=[row("a", models={"a": (3, 4)}), row("b", models={"b": (1, 2)})],
            whole=row("total"),
        ),
    }
    world.asking.answer(USAGE, lambda query: by[query.group])
    async with client_of(world, quick_settings(prices='{"a": {"prompt": 1}}')) as client:
        stats = (await client.get(f"{SNAKE}/health/stats/")).json()
    assert (stats["sessions"], stats["messages"], stats["requests"]) == (3, 14, 2)
    assert (stats["first_token_ms_mean"], stats["first_token_ms_p95"]) == (1.5, 2)
    assert [day["key"] for day in stats["by_day"]] == ["2025-01-27"]
    rows = [(m["model"], m["key"], m["requests"], m["cost"]) for m in stats["by_model"]]
    assert rows == [("a", "a", 2, "0.000003"), ("b", "b", 2, "0.000000")]
    for model in stats["by_model"]:
        assert set(model) == {*stats["by_day"][0], "model"}


BAD = [
    ("from=yesterday", "from"),
    ("from=2025-02-30", "from"),
    ("from=20250101", "from"),
    ("from=2025-W01-1", "from"),
    ("from=", "from"),
    ("from=2025-01-01T00:00:00", "from"),
    ("from=\u0662\u0660\u0662\u0665-01-01", "from"),
    ("from=2025-01-28", "from"),
    ("from=2024-01-01", "from"),
    ("to=2025-13-01", "to"),
    ("to=1737936000", "to"),
    ("from=2025-01-02&to=2025-01-01", "from"),
    ("from=0001-01-01&to=9999-12-31", "from"),
    ("group=hour", "group"),
    ("format=xml", "format"),
]


@pytest.mark.parametrize("face", [CAMEL, SNAKE])
@pytest.mark.parametrize(("query", "param"), BAD)
async def test_a_bad_query_is_400_and_says_where(face: str, query: str, param: str) -> None:
    world = FakeWorld()
    using(world)
    async with client_of(world) as client:
        answer = await client.get(httpx.URL(f"http://localhost{face}/usage/?{query}"))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"], error["type"]) == (
        param,
        "invalid_request",
        "invalid_request_error",
    )
    assert world.asking.asked == []


async def test_without_history_usage_is_503_and_status_says_so() -> None:
    world = FakeWorld()
    world.history.away = True
    async with client_of(world) as client:
        for path in ("usage/", "health/stats/"):
            answer = await client.get(f"{CAMEL}/{path}")
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "history_unavailable"
        status = await client.get(f"{CAMEL}/status/")
    assert status.status_code == 200
    assert status.json()["status"] == "degraded"
    assert status.json()["history"]["state"] == "unavailable"


def test_days_at_the_end_of_the_calendar_are_days() -> None:
    assert period_of(None, "0001-01-05", TODAY).first == date.min
    assert period_of("9999-12-31", "9999-12-31", TODAY).last == date.max
    assert period_of("2024-01-28", None, TODAY).first == date(2024, 1, 28)
    with pytest.raises(InvalidRequest):
        period_of("2024-01-27", None, TODAY)


@pytest.mark.parametrize("face", [CAMEL, SNAKE])
async def test_engines_are_ok_degraded_or_away(face: str) -> None:
    world = FakeWorld()
    async with client_of(world) as client:
        path = f"{face}/health/llm_server/"
        well = await client.get(path)
        assert (well.status_code, well.json()["status"], well.json()["ok"]) == (200, "ok", True)
        assert well.json()["models"] == ["demo"]
        assert well.json()["latencyMs" if face == CAMEL else "latency_ms"] == 1.0
        assert [worker["id"] for worker in well.json()["workers"]] == ["w1"]

        world.history.away = True
        assert (await client.get(path)).json()["status"] == "ok"

        world.catalog.put(announcement("w2", ok=False))
        degraded = await client.get(path)
        assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")

        world.catalog.remove("w1")
        away = await client.get(path)
        assert (away.status_code, away.json()["ok"]) == (503, False)


async def test_status_is_200_whatever_is_down() -> None:
    world = FakeWorld()
    async with client_of(world) as client:

        async def status() -> dict[str, Any]:
            answer = await client.get(f"{SNAKE}/status/")
            assert answer.status_code == 200
            found: dict[str, Any] = answer.json()
            return found

        world.backlog.queued = 7
        well = await status()
        assert well["status"] == "ok"
        assert well["workers"] == {"state": "ok", "count": 1, "slots": 2, "free": 1}
        assert (well["models"], well["queue"]) == (["demo"], {"requests": 7})

        world.catalog.put(announcement("w2", ok=False))
        assert (await status())["workers"]["state"] == "degraded"

        world.broker.connected = False
        world.backlog.queued = None
        away = await status()
        assert (away["status"], away["broker"]["state"]) == ("unavailable", "unavailable")
        assert away["queue"] == {"requests": None}

        world.broker.connected = True
        world.catalog.remove("w1")
        world.catalog.remove("w2")
        alone = await status()
        assert (alone["status"], alone["workers"]["state"]) == ("unavailable", "unavailable")

        world.drain.begin()
        assert (await status())["gateway"] == {
            "state": "unavailable",
            "latency_ms": None,
            "detail": "stopping",
        }


@pytest.mark.parametrize("error", [ChatError("odd"), BrokerUnavailable("away")])
async def test_a_history_that_fails_in_whatever_way_is_no_answer(error: ChatError) -> None:
    world = FakeWorld()

    async def health() -> HistoryHealth:
        raise error

    world.history.health = health  # type: ignore[method-assign]
    async with client_of(world) as client:
        status = await client.get(f"{CAMEL}/status/")
    assert status.json()["history"]["detail"] == "no answer"
