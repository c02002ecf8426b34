"""Provisioning on a real nats-server."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from deploy.provisioning.app import ending_with, provision_once
from deploy.provisioning.provisioner import Provisioner
from deploy.provisioning.settings import Settings
from shared.contracts import streams, subjects
from shared.contracts.streams import Capacity
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import ApiError, JetStream, LimitReached
from shared.settings import NatsSettings

pytestmark = pytest.mark.integration
CAPACITY = Capacity(queue_limit=3, ack_wait=timedelta(seconds=2))


async def test_everything_is_made_once_and_a_second_run_changes_nothing(
    jetstream: JetStream,
) -> None:
    provisioner = Provisioner(jetstream, CAPACITY)

    first = await provisioner.provision()
    second = await provisioner.provision()

    assert {"CHAT_REQUESTS", "CHAT_CHUNKS", "CHAT_EVENTS", "CHAT_DEAD_LETTERS"} < set(first)
    assert {streams.bucket_stream(bucket) for bucket in streams.BUCKETS} < set(first)
    assert second == []


async def test_what_the_server_applies_is_what_the_definition_says(jetstream: JetStream) -> None:
    await Provisioner(jetstream, CAPACITY).provision()

    for definition in streams.definitions(CAPACITY):
        applied = (await jetstream.api(f"STREAM.INFO.{definition.name}"))["config"]
        assert {key: applied.get(key) for key in definition.config} == dict(definition.config)


async def test_a_deleted_stream_and_its_durables_come_back(jetstream: JetStream) -> None:
    provisioner = Provisioner(jetstream, CAPACITY)
    await provisioner.provision()
    await provisioner.provision_model("llama3.2:1b")
    await jetstream.api("STREAM.DELETE.CHAT_REQUESTS")

    changed = await provisioner.provision()

    assert changed == [
        "CHAT_REQUESTS",
        streams.request_consumer("llama3.2:1b", "a"),
        streams.request_consumer("llama3.2:1b", "b"),
    ]


async def test_changed_limits_are_applied_without_losing_what_is_stored(
    jetstream: JetStream,
) -> None:
    await Provisioner(jetstream, CAPACITY).provision()
    await jetstream.publish("chat.events.accepted.x", b"kept")

    changed = await Provisioner(jetstream, Capacity(queue_limit=7)).provision()

    assert changed == ["CHAT_REQUESTS"]
    assert await jetstream.last(streams.EVENTS, "chat.events.accepted.x") is not None


async def test_a_limit_that_no_definition_asks_for_is_lifted(jetstream: JetStream) -> None:
    await Provisioner(jetstream, CAPACITY).provision()
    turns = (await jetstream.api("STREAM.INFO.KV_turns"))["config"]
    await jetstream.api("STREAM.UPDATE.KV_turns", {**turns, "max_age": 3600 * 10**9, "max_msgs": 1})

    assert await Provisioner(jetstream, CAPACITY).provision() == ["KV_turns"]


async def test_a_definition_that_the_server_refuses_is_named_and_keeps_nothing_else_away(
    jetstream: JetStream,
) -> None:
    other = {"name": streams.CHUNKS, "subjects": [subjects.CHUNKS], "storage": "memory"}
    await jetstream.api(f"STREAM.CREATE.{streams.CHUNKS}", other)
    provisioner = Provisioner(jetstream, CAPACITY)

    with pytest.raises(ApiError, match="CHAT_CHUNKS: stream configuration update can not"):
        await provisioner.provision()

    assert await provisioner.provision_model("demo")
    for name in (
        streams.EVENTS,
        streams.DEAD_LETTERS,
        *map(streams.bucket_stream, streams.BUCKETS),
    ):
        assert await jetstream.api(f"STREAM.INFO.{name}")


async def test_no_revision_of_a_budget_comes_back_with_a_bucket_that_was_lost(
    jetstream: JetStream,
) -> None:
    provisioner = Provisioner(jetstream, CAPACITY)
    bucket, revisions = Bucket(jetstream, streams.BUDGETS), list[int]()
    for _ in range(3):
        await provisioner.provision()
        revisions += [await bucket.put("spent.x", b"1") for _ in range(5)]
        entry = await bucket.get("spent.x")
        assert entry is not None
        assert entry.revision == revisions[-1]
        found = [m.data async for m in jetstream.replay("KV_budgets", "$KV.budgets.>")]
        assert found == [b"1"]
        await jetstream.api("STREAM.DELETE.KV_budgets")
    assert revisions == sorted(set(revisions))


async def test_provisioners_that_begin_in_different_microseconds_agree(
    jetstream: JetStream,
) -> None:
    clocks = (partial(moment, number) for number in range(4))
    provisioners = [Provisioner(jetstream, CAPACITY, clock) for clock in clocks]
    made = await asyncio.gather(*(provisioner.provision() for provisioner in provisioners))
    assert [name for names in made for name in names].count("KV_budgets") == 1
    assert await provisioners[0].provision() == []


def moment(number: int) -> datetime:
    """One that nobody else has."""
    return datetime(2026, 11, 20, 12, number, tzinfo=UTC)


async def test_a_second_provisioner_changes_nothing(jetstream: JetStream) -> None:
    first = Provisioner(jetstream, CAPACITY)
    await first.provision()
    await first.provision_model("demo")

    second = Provisioner(jetstream, CAPACITY)
    assert await second.provision_model("demo") == []
    assert await second.provision() == []


async def test_a_watch_that_fails_stops_the_process_and_is_not_passed_over() -> None:
    stopped = asyncio.Event()

    async def fail() -> None:
        raise KeyError("config")

    async def run() -> None:
        async with ending_with(fail(), stopped.set):
            await stopped.wait()

    with pytest.raises(KeyError):
        await asyncio.wait_for(run(), 10)


async def test_an_address_that_nobody_answers_at_is_shown_without_its_password() -> None:
    settings = Settings(nats=NatsSettings(url="nats://me:secret@127.0.0.1:1"))

    with pytest.raises(BrokerUnavailable) as failure:
        await provision_once(settings)

    assert failure.value.message == "no NATS server answers at 127.0.0.1:1 (NATS_URL)"


async def test_a_full_queue_refuses_what_is_new_and_keeps_what_is_old(
    jetstream: JetStream,
) -> None:
    await Provisioner(jetstream, CAPACITY).provision()
    subject = subjects.requests("demo", "a")
    for _ in range(3):
        await jetstream.publish(subject, b"job")

    with pytest.raises(LimitReached):
        await jetstream.publish(subject, b"one too many")
    await jetstream.publish(subjects.requests("demo", "b"), b"another lane has room")


async def test_the_durables_apply_the_ack_wait_of_the_settings(jetstream: JetStream) -> None:
    provisioner = Provisioner(jetstream, CAPACITY)
    await provisioner.provision()
    await provisioner.provision_model("demo")

    assert await provisioner.ack_wait("demo") == timedelta(seconds=2)


async def test_a_missing_consumer_is_an_error_not_a_silent_default(jetstream: JetStream) -> None:
    provisioner = Provisioner(jetstream, CAPACITY)
    await provisioner.provision()

    with pytest.raises(ApiError):
        await provisioner.ack_wait("nobody-asked-for-this")
