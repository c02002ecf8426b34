"""A key that has outlived its time to live is no more, whatever the broker says."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream, StoredMessage


class _Stream:
    """One key, put some time ago, as nats-server brings it back after a kill -9."""

    def __init__(self, *, age: timedelta, ttl: str | None, ahead: timedelta) -> None:
        self.sequence = 7
        self._ahead = ahead
        headers = {"Nats-TTL": ttl} if ttl is not None else {}
        put_at = datetime.now(UTC) - age
        self._message = StoredMessage("$KV.turns.x", self.sequence, put_at, b"running", headers)

    async def api(self, operation: str) -> dict[str, Any]:
        assert operation == "STREAM.INFO.KV_turns"
        return {"ts": f"{(datetime.now(UTC) - self._ahead).isoformat()[:26]}789Z"}

    async def last(self, _stream: str, _subject: str) -> StoredMessage:
        return self._message

    async def publish(self, _subject: str, _value: bytes, **options: object) -> int:
        if options["expected_last"] != self.sequence:
            raise AlreadyPublished(400, 10071, "wrong last sequence")
        self.sequence += 1
        return self.sequence


def bucket(age: timedelta, ttl: str | None = "15", ahead: timedelta = timedelta(0)) -> Bucket:
    """By a machine whose clock is ``ahead`` of the broker's, and seems to be so old to it."""
    return Bucket(cast("JetStream", _Stream(age=age, ttl=ttl, ahead=ahead)), "turns")


async def test_a_key_that_came_back_after_its_time_is_absent_and_can_be_created() -> None:
    turns = bucket(timedelta(minutes=2))

    assert await turns.get("x") is None
    assert await turns.create("x", b"mine") == 8


@pytest.mark.parametrize(
    ("age", "ttl", "ahead"),
    # The broker may be half a minute late; what has no TTL lives for ever.
    [
        (timedelta(seconds=40), "15", timedelta(0)),
        (timedelta(days=3), None, timedelta(0)),
        (timedelta(days=3), "15", timedelta(days=3, seconds=-40)),
        (timedelta(seconds=-40), "15", timedelta(seconds=-60)),
    ],
)
async def test_a_key_within_its_time_by_the_brokers_clock_stands(
    age: timedelta, ttl: str | None, ahead: timedelta
) -> None:
    turns = bucket(age, ttl, ahead)

    found = await turns.get("x")

    assert found is not None
    assert (found.value, found.revision) == (b"running", 7)
    with pytest.raises(AlreadyPublished):
        await turns.create("x", b"mine")
