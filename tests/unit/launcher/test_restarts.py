"""When a dead child starts again."""

from deploy.local.restarts import RestartPolicy


def test_the_delay_doubles_with_each_death_in_a_row() -> None:
    policy = RestartPolicy()

    assert [policy.died(now) for now in (0.0, 1.0, 2.0, 3.0)] == [0.2, 0.4, 0.8, 1.6]


def test_the_fifth_death_within_a_minute_is_the_end() -> None:
    policy = RestartPolicy()
    for now in (0.0, 10.0, 20.0, 30.0):
        assert policy.died(now) is not None

    assert policy.died(59.9) is None


def test_deaths_that_are_spread_over_more_than_a_minute_never_end_it() -> None:
    policy = RestartPolicy()

    delays = [policy.died(16.0 * number) for number in range(20)]

    assert None not in delays
    assert max(delay for delay in delays if delay) == 5.0


def test_a_child_that_has_lived_for_long_starts_again_quickly() -> None:
    policy = RestartPolicy()
    for now in (0.0, 1.0, 2.0):
        policy.died(now)

    assert policy.died(100.0) == 0.2
