"""Where in the queue somebody is: arithmetic over looks, and one look for all who wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.background import Background
from services.api.completions.queue_watch import QueueWatch
from services.api.ports.queue_news import Depth, Pace, Place, QueueNews, in_lane_b, news
from services.api.streams.sse import queued_comment
from tests.fakes.api.ports import FakeClock, FakeDepths
from tests.support.waiting import eventually


def test_a_position_is_what_was_pending_minus_what_was_delivered_since() -> None:
    place = Place(number=20)
    assert place.position(Depth(pending=5, delivered=10, last_number=12), behind=0) == 5
    # Two were served, and four came after this one.
    assert place.position(Depth(pending=7, delivered=12, last_number=14), behind=4) == 3
    assert place.position(Depth(pending=4, delivered=16, last_number=19), behind=4) == 1
    assert place.position(Depth(pending=4, delivered=17, last_number=20), behind=4) is None


def test_who_came_after_it_before_the_first_look_does_not_count() -> None:
    assert Place(5).position(Depth(pending=4, delivered=0, last_number=0), behind=3) == 1


def test_what_was_withdrawn_before_it_brings_it_forward() -> None:
    place = Place(number=20)
    assert place.position(Depth(5, 10, 12), behind=0) == 5
    assert place.position(Depth(2, 10, 12), behind=0) == 2


def test_a_queue_that_was_made_anew_is_counted_anew() -> None:
    place = Place(number=20)
    assert place.position(Depth(5, 10, 12), behind=0) == 5
    assert place.position(Depth(3, 1, 2), behind=0) == 3


@given(
    ahead=st.integers(0, 50),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40),
)
def test_it_never_falls_back_and_never_claims_to_be_served_early(
    ahead: int, steps: list[tuple[int, int]]
) -> None:
    place, pending, delivered = Place(number=1000), ahead + 1, 7
    last = place.position(Depth(pending, delivered, 900), behind=0)
    assert last == ahead + 1
    mine = ahead
    for served, came in steps:
        served = min(served, mine)
        mine, delivered, pending = mine - served, delivered + served, pending - served + came
        now = place.position(Depth(pending, delivered, 900), behind=0)
        assert now == mine + 1
        assert last is not None
        assert now <= last
        last = now


@pytest.mark.parametrize(
    ("own", "waiting_in_a", "position"), [(1, 0, 1), (1, 2, 3), (1, 50, 4), (3, 50, 12), (3, 4, 7)]
)
def test_lane_b_waits_for_what_lane_a_may_take_before_it(
    own: int, waiting_in_a: int, position: int
) -> None:
    assert in_lane_b(own, waiting_in_a) == position


def test_a_wait_is_estimated_only_from_deliveries_that_were_seen() -> None:
    pace = Pace()
    pace.see(100.0, 5)
    assert pace.per_second() == 0
    pace.see(102.0, 5)
    assert news(3, pace.per_second()) == QueueNews(3, None)
    pace.see(110.0, 7)
    assert news(3, pace.per_second()) == QueueNews(3, 15_000)
    # What was more than a minute ago is forgotten, and so is a queue that was made anew.
    pace.see(165.0, 9)
    assert pace.per_second() == pytest.approx(2 / 55)
    pace.see(169.0, 9)
    assert pace.per_second() == pytest.approx(2 / 55)
    assert pace.last == 165.0
    pace.see(166.0, 0)
    assert pace.per_second() == 0


def test_an_estimate_goes_down_while_one_waits_and_never_below_those_ahead() -> None:
    waits = [news(3, 0.2, since).estimated_wait_ms for since in (0.0, 2.0, 4.0, 60.0)]
    assert waits == [15_000, 13_000, 11_000, 10_000]


def test_the_comment_ends_as_pings_do() -> None:
    assert queued_comment(QueueNews(3, 12000), beside_ids=False) == (
        b': queued {"position":3,"estimated_wait_ms":12000}\n\n'
    )
    assert queued_comment(QueueNews(3, None), beside_ids=True) == b': queued {"position":3}\n'


async def test_all_who_wait_share_one_look_and_nobody_looks_when_none_waits() -> None:
    depths, background = FakeDepths(), Background()
    watch = QueueWatch(depths, background, FakeClock(), every=0.05, a_moment=0.0)
    depths.depths = {"a": Depth(10, 0, 0), "b": Depth(3, 0, 0)}
    tickets = [watch.join("demo", "a", number) for number in range(1, 11)]
    changed: list[int] = []
    for ticket in tickets:
        ticket.on_change = lambda number=ticket.place.number: changed.append(number)  # type: ignore[misc]
    await eventually(lambda: tickets[9].news)
    assert depths.looks == [("demo", "a")]
    assert [ticket.news for ticket in tickets] == [QueueNews(n, None) for n in range(1, 11)]

    waits = watch.join("demo", "b", 50)
    await eventually(lambda: waits.news)
    assert waits.news == QueueNews(12, None)
    depths.depths["a"] = Depth(9, 1, 1)
    await eventually(lambda: len(changed) == 20)
    assert tickets[0].news is None
    for ticket in [*tickets, waits]:
        ticket.leave()
    looked = depths.looks_at("demo")
    # Those who wait for another model are looked for all the while.
    elsewhere = watch.join("other", "a", 1)
    await eventually(lambda: depths.looks_at("other") >= 4)
    # A look that was under way may have been at both lanes.
    assert depths.looks_at("demo") <= looked + 2
    elsewhere.leave()
    await background.aclose(1)


async def test_what_is_taken_at_once_costs_no_look() -> None:
    depths, background = FakeDepths(), Background()
    watch = QueueWatch(depths, background, FakeClock(), every=0.05, a_moment=0.05)
    depths.depths = {"a": Depth(1, 0, 0)}
    watch.join("demo", "a", 1).leave()
    # Who comes to another queue after it is looked for when its own moment is over.
    elsewhere = watch.join("other", "a", 1)
    await eventually(lambda: elsewhere.news)
    assert depths.looks_at("demo") == 0
    # And who waits after that is looked for again.
    later = watch.join("demo", "a", 2)
    await eventually(lambda: later.news == QueueNews(1, None))
    elsewhere.leave()
    later.leave()
    await background.aclose(1)
