"""Rows of usage: what adds up to what."""

import math
from datetime import date

import pytest

from services.history.freshness import Freshness
from services.history.recorder import Recorder
from services.history.usage import UsageReports, nearest_rank
from shared.contracts.ids import CompletionId
from shared.contracts.usage import Counts, CountsQuery, UsageQuery, UsageReply, UsageRow
from shared.errors import HistoryUnavailable, InvalidRequest
from tests.fakes.history.conversation import NOON, OTHER, USER, stateless
from tests.fakes.history.log import MemoryLog, raw
from tests.fakes.history.memory_store import MemoryStore
from tests.fakes.history.memory_usage import MemoryUsageStore
from tests.fakes.history.records import session, usage

MARCH = UsageQuery(user_id=USER, first=date(2026, 3, 1), last=date(2026, 3, 31))
BY_MODEL = MARCH.model_copy(update={"group": "model"})


class _Scene:
    """Reports over an empty store; a pause of a reader stores what was published."""

    def __init__(self, *, timed: int = 5_000) -> None:
        self.store = MemoryStore()
        self.log = MemoryLog()
        self._recorder = Recorder(self.store)
        freshness = Freshness(
            self.store,
            self.log,
            self._recorder,
            holding=lambda: False,
            wait=1,
            pause=self._store,
        )
        self.reports = UsageReports(MemoryUsageStore(self.store), freshness, timed=timed)

    async def _store(self, _seconds: float) -> None:
        self.log.floor = len(self.log.events)
        end = stateless()
        await self._recorder.record(end, NOON)

    def used(self, day: str, model: str = "demo", **changes: object) -> None:
        record = usage(
            id=CompletionId(f"chatcmpl-{len(self.store.usage)}"),
            day=day,
            model_used=model,
            **changes,
        )
        self.store.usage[record.id] = record

    async def ask(self, query: UsageQuery = MARCH) -> UsageReply:
        return await self.reports.usage(query)


async def test_days_are_rows_in_order_and_days_without_usage_are_left_out() -> None:
    scene = _Scene()
    scene.used("2026-03-09", first_token_ms=30)
    scene.used("2026-03-02", "big", first_token_ms=10, estimated=True)
    scene.used("2026-03-02", "demo", first_token_ms=20)
    scene.used("2026-04-01")
    scene.used("2026-03-03", user_id=OTHER)

    reply = await scene.ask()

    first, second = reply.rows
    assert first == UsageRow(
        key="2026-03-02",
        requests=2,
        prompt_tokens=2,
        completion_tokens=4,
        total_tokens=6,
        estimated=1,
        first_token_ms_mean=15,
        first_token_ms_p95=20,
        models={"big": (1, 2), "demo": (1, 2)},
    )
    assert (second.key, second.models) == ("2026-03-09", {"demo": (1, 2)})
    assert reply.whole == UsageRow(
        key="total",
        requests=3,
        prompt_tokens=3,
        completion_tokens=6,
        total_tokens=9,
        estimated=1,
        first_token_ms_mean=20,
        first_token_ms_p95=30,
        models={"big": (1, 2), "demo": (2, 4)},
    )


async def test_models_are_rows_by_name_over_all_days() -> None:
    scene = _Scene()
    for day, model in (("2026-03-01", "b"), ("2026-03-02", "b"), ("2026-03-02", "a")):
        scene.used(day, model)

    reply = await scene.ask(BY_MODEL)

    assert [(row.key, row.requests, row.models) for row in reply.rows] == [
        ("a", 1, {"a": (1, 2)}),
        ("b", 2, {"b": (2, 4)}),
    ]


async def test_a_model_is_one_with_and_without_its_latest_tag() -> None:
    scene = _Scene()
    scene.used("2026-03-01", "demo", first_token_ms=10)
    scene.used("2026-03-01", "demo:latest", first_token_ms=30)
    scene.used("2026-03-01", "demo:small")

    reply = await scene.ask(BY_MODEL)

    assert [(row.key, row.requests, row.first_token_ms_mean) for row in reply.rows] == [
        ("demo", 2, 20),
        ("demo:small", 1, None),
    ]
    assert reply.whole is not None
    assert reply.whole.models == {"demo": (2, 4), "demo:small": (1, 2)}


async def test_who_has_used_nothing_has_no_rows_and_a_whole_of_zeros() -> None:
    reply = await _Scene().ask()

    assert reply.rows == []
    assert reply.whole is not None
    assert (reply.whole.requests, reply.whole.first_token_ms_p95) == (0, None)


async def test_what_was_completed_just_now_is_in_it() -> None:
    scene = _Scene()
    scene.log.events.append(raw(stateless(), NOON))

    reply = await scene.ask()

    assert reply.whole is not None
    assert reply.whole.total_tokens == 10


async def test_timings_are_of_the_latest_days_where_there_are_too_many() -> None:
    scene = _Scene(timed=2)
    for day in (1, 2, 3):
        scene.used(f"2026-03-0{day}", first_token_ms=day)

    reply = await scene.ask()

    assert [row.first_token_ms_mean for row in reply.rows] == [None, 2, 3]
    assert reply.whole is not None
    assert (reply.whole.first_token_ms_mean, reply.whole.requests) == (2.5, 3)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2026, 3, 2), date(2026, 3, 1)),
        (date(2025, 1, 1), date(2026, 1, 2)),
        (date.min, date.max),
    ],
)
async def test_days_in_the_wrong_order_or_too_many_are_refused(first: date, last: date) -> None:
    with pytest.raises(InvalidRequest):
        await _Scene().ask(UsageQuery(user_id=USER, first=first, last=last))


async def test_a_leap_year_fits() -> None:
    query = UsageQuery(user_id=USER, first=date(2028, 1, 1), last=date(2028, 12, 31))
    assert (await _Scene().ask(query)).rows == []


async def test_sessions_are_counted_with_their_messages() -> None:
    scene = _Scene()
    for record in (
        session(1).model_copy(update={"message_count": 4}),
        session(2).model_copy(update={"message_count": 2, "deleted_at": 1}),
        session(3, user_id=OTHER),
    ):
        scene.store.sessions[record.id] = record

    assert await scene.reports.counts(CountsQuery(user_id=USER)) == Counts(sessions=1, messages=4)


async def test_a_database_that_is_away_is_said() -> None:
    scene = _Scene()
    scene.store.available = False

    with pytest.raises(HistoryUnavailable):
        await scene.ask()
    with pytest.raises(HistoryUnavailable):
        await scene.reports.counts(CountsQuery(user_id=USER))


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100, 101])
def test_p95_is_the_smallest_that_95_of_100_do_not_exceed(count: int) -> None:
    values = list(range(1, count + 1))
    found = nearest_rank(reversed(values), 0.95)

    assert found == next(v for v in values if sum(w <= v for w in values) * 100 >= 95 * count)
    assert found == math.ceil(0.95 * count)
    assert nearest_rank([], 0.95) is None
