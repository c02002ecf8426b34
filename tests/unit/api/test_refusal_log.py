"""However often somebody is refused, the audit gets a bounded number of lines and every count."""

import pytest
from structlog.testing import capture_logs

from services.api.access.refusal_log import MOST, REFUSED, WINDOW, RefusalLog
from shared.contracts.audit import Actor
from shared.contracts.ids import UserId


class Scene:
    def __init__(self) -> None:
        self.time = 0.0
        self.log = RefusalLog(lambda: self.time)

    def refuse(
        self,
        address: str = "192.0.2.1",
        code: str = "wrong_host",
        user: UserId | None = None,
        target: str = "GET",
    ) -> None:
        actor = Actor(via="http", address=address, request_id="r", sent_request_id="s", user=user)
        self.log.refused(REFUSED, actor, target, code)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_first_is_told_at_once_and_the_others_with_their_count(scene: Scene) -> None:
    with capture_logs() as lines:
        for _ in range(1000):
            scene.refuse()
        assert [line["count"] for line in lines] == [1]
        assert lines[0]["request_id"] == "r"
        scene.log.settle()
        assert len(lines) == 1, "its minute is not over"
        scene.time = WINDOW
        scene.log.settle()
        scene.log.settle()
    assert [line["count"] for line in lines] == [1, 999]
    assert (lines[1]["request_id"], lines[1]["sent_request_id"]) == (None, None)
    assert lines[1]["address"] == "192.0.2.1"


def test_after_its_minute_the_next_one_is_told_at_once_again(scene: Scene) -> None:
    with capture_logs() as lines:
        scene.refuse()
        scene.refuse()
        scene.time = WINDOW
        scene.refuse()
    assert [line["count"] for line in lines] == [1, 1, 1]
    assert sum(line["count"] for line in lines) == 3


def test_refusals_of_different_targets_are_not_folded_into_one(scene: Scene) -> None:
    with capture_logs() as lines:
        for target in ("GET /api/chat/keys", "POST /api/chat/keys"):
            scene.refuse(target=target)
            scene.refuse(target=target)
        scene.log.close()
    assert [(line["object"], line["count"]) for line in lines] == [
        ("GET /api/chat/keys", 1),
        ("POST /api/chat/keys", 1),
        ("GET /api/chat/keys", 1),
        ("POST /api/chat/keys", 1),
    ]


def test_addresses_callers_and_reasons_are_told_apart_and_a_site_of_ipv6_is_one(
    scene: Scene,
) -> None:
    with capture_logs() as lines:
        scene.refuse()
        scene.refuse("192.0.2.2")
        scene.refuse(code="wrong_origin")
        scene.refuse(user=UserId("ann"))
        scene.refuse("2001:db8::1")
        scene.refuse("2001:db8::ffff:2")
    assert len(lines) == 5


def test_who_has_any_number_of_addresses_makes_no_more_lines_than_the_table_holds(
    scene: Scene,
) -> None:
    with capture_logs() as lines:
        for number in range(10 * MOST):
            scene.refuse(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        assert len(lines) == MOST + 1
        assert lines[-1]["address"] is None
        scene.log.close()
    assert len(lines) == MOST + 2
    assert sum(line["count"] for line in lines) == 10 * MOST


def test_nothing_that_was_counted_is_lost_at_the_end(scene: Scene) -> None:
    with capture_logs() as lines:
        scene.refuse()
        scene.refuse()
        scene.log.close()
        scene.log.close()
    assert [line["count"] for line in lines] == [1, 1]
