"""The order in which queues are asked."""

from services.inference_worker.lanes import Lanes, Source

SOURCES = [Source(model, lane, 10.0) for model in ("m", "n") for lane in ("a", "b")]


def names(order: list[Source]) -> list[str]:
    return [source.model + source.lane for source in order]


def test_lane_a_of_all_models_comes_before_lane_b() -> None:
    assert names(Lanes().order(SOURCES)) == ["ma", "na", "mb", "nb"]


def test_models_take_turns() -> None:
    lanes = Lanes()
    lanes.taken(SOURCES[0])
    assert names(lanes.order(SOURCES)) == ["na", "ma", "nb", "mb"]
    lanes.taken(SOURCES[2])
    assert names(lanes.order(SOURCES)) == ["ma", "na", "mb", "nb"]


def test_lane_b_comes_first_after_three_of_lane_a() -> None:
    lanes = Lanes()
    for _ in range(3):
        assert names(lanes.order(SOURCES))[0].endswith("a")
        lanes.taken(SOURCES[0])

    assert names(lanes.order(SOURCES)) == ["nb", "mb", "na", "ma"]
    lanes.taken(SOURCES[1])
    assert names(lanes.order(SOURCES))[0].endswith("a")


def test_of_any_four_taken_while_both_wait_one_is_of_lane_b() -> None:
    lanes, taken = Lanes(), []
    for _ in range(40):
        source = lanes.order(SOURCES)[0]
        lanes.taken(source)
        taken.append(source.lane)

    assert all("b" in taken[start : start + 4] for start in range(37))
    assert taken.count("a") == 30
