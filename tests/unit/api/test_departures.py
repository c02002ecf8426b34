"""A user whose data is being removed is let in by nobody, and what is open ends."""

import pytest

from services.api.access.caller import Caller
from services.api.access.departures import Departures
from services.api.access.presence import Presence
from services.api.access.refusals import UserDeparting
from shared.contracts.ids import UserId
from shared.contracts.user_purge import user_digest
from tests.fakes.api.ports import FakeClock

ANN, BOB = UserId("ann"), UserId("bob")


@pytest.fixture
def departures() -> Departures:
    return Departures()


@pytest.fixture
def presence(departures: Departures) -> Presence:
    made = Presence(FakeClock(), lives=lambda _key: True, departing=departures.departing)
    departures.call_when_begun(made.user_gone)
    return made


def test_who_departs_is_refused_until_it_is_over(departures: Departures) -> None:
    departures.check(ANN)
    departures.hear(user_digest(ANN), under_way=True)
    with pytest.raises(UserDeparting):
        departures.check(ANN)
    departures.check(BOB)
    departures.hear(user_digest(ANN), under_way=False)
    departures.check(ANN)


def test_what_is_open_ends_with_and_without_a_key_and_that_of_others_stays(
    departures: Departures, presence: Presence
) -> None:
    ends: list[str] = []
    presence.enter(Caller(ANN), lambda: ends.append("token"))
    presence.enter(Caller(ANN, key_id="k"), lambda: ends.append("key"))
    presence.enter(Caller(BOB), lambda: ends.append("bob"))
    left = presence.enter(Caller(ANN), lambda: ends.append("left"))
    presence.leave(Caller(ANN), left)

    for _ in range(2):
        departures.hear(user_digest(ANN), under_way=True)
    assert sorted(ends) == ["key", "token"]
    presence.key_gone("k")
    assert sorted(ends) == ["key", "token"]


def test_who_was_let_in_a_moment_before_does_not_stay(
    departures: Departures, presence: Presence
) -> None:
    departures.hear(user_digest(ANN), under_way=True)
    ends: list[str] = []
    assert presence.enter(Caller(ANN), lambda: ends.append("late")).over
    assert ends == ["late"]


def test_who_was_cut_off_while_it_came_to_its_end_learns_it_from_what_is_stored(
    departures: Departures, presence: Presence
) -> None:
    departures.hear(user_digest(ANN), under_way=True)
    ends: list[str] = []
    presence.enter(Caller(BOB), lambda: ends.append("bob"))

    departures.begin()
    departures.replace({user_digest(BOB)})

    departures.check(ANN)
    with pytest.raises(UserDeparting):
        departures.check(BOB)
    assert ends == ["bob"]


def test_what_is_heard_while_the_words_are_read_is_newer_than_they_are(
    departures: Departures,
) -> None:
    departures.hear(user_digest(ANN), under_way=True)
    departures.begin()
    departures.hear(user_digest(ANN), under_way=False)
    departures.hear(user_digest(BOB), under_way=True)
    departures.replace({user_digest(ANN)})
    departures.check(ANN)
    with pytest.raises(UserDeparting):
        departures.check(BOB)
