"""Traps of FastStream 0.7.8 and nats-py 2.16 that Parley depends on not to fall into.

Each was measured; a release that mends one may take its test away.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path

import nats.errors
import pytest

from deploy.nats.configuration import Configuration
from deploy.provisioning.settings import Settings as ProvisionSettings
from shared.contracts import streams
from shared.contracts.identities import Identity
from shared.contracts.streams import Capacity
from shared.messaging.buckets import Bucket
from shared.messaging.connection import build_broker
from shared.settings import NatsSettings

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for top in ("services", "shared", "deploy") for path in (ROOT / top).rglob("*.py")
)


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def calls(*names: str) -> Iterator[tuple[Path, ast.Call, dict[str | None, ast.expr]]]:
    """Every call of these functions or methods in our code."""
    for path in MODULES:
        for node in nodes(path):
            if isinstance(node, ast.Call):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else ""
                name = function.id if isinstance(function, ast.Name) else name
                if name in names:
                    yield path, node, {word.arg: word.value for word in node.keywords}


def test_no_subscriber_pulls_through_faststream() -> None:
    # Its pull loop hoards jobs with max_workers (#2563), ignores the broker's inbox prefix, asks
    # 7,800 times a second while a durable is away, and hangs the event loop on a closed connection.
    pulls = [str(path) for path, _, words in calls("subscriber") if "pull_sub" in words]
    assert pulls == []
    assert not [path for path in MODULES if re.search(r"\bPullSub\b", path.read_text())]


def test_no_subscriber_is_bound_to_a_stream() -> None:
    # The default ack policy drops an event for ever when its handler fails, and declaring a stream
    # resets its limits.
    bound = [
        f"{path}:{call.lineno}"
        for path, call, words in calls("subscriber", "publisher")
        if words.keys() & {"stream", "durable", "ack_policy"}
    ]
    assert bound == []


def test_every_connection_for_life_never_gives_up_and_has_an_inbox_of_its_own() -> None:
    ((_, _, words),) = calls("_Broker")
    assert ast.literal_eval(words["max_reconnect_attempts"]) == -1
    assert "inbox_prefix" in words
    built = [ast.unparse(call.args[1]) for _, call, _ in calls("build_broker")]
    assert len(built) >= 4
    assert len(set(built)) == len(built)
    assert all(re.fullmatch(r"Identity\.[A-Z]+", identity) for identity in built)


async def test_an_error_of_the_broker_does_not_end_the_reconnecting() -> None:
    # FastStream 0.7.8 raises these out of the error callback, and nats-py's task dies of it.
    settings = NatsSettings(url="nats://127.0.0.1:1")
    for identity in Identity:
        report = build_broker(settings, identity)._connection_kwargs["error_cb"]  # noqa: SLF001
        for error in ("authorization timeout", "maximum connections exceeded"):
            await report(nats.errors.Error(f"nats: '{error}'"))


def test_a_peer_that_is_gone_without_a_word_is_noticed_within_25_seconds() -> None:
    ((_, _, words),) = calls("_Broker")
    interval, most = words["ping_interval"], words["max_outstanding_pings"]
    assert ast.literal_eval(interval) * (ast.literal_eval(most) + 1) <= 25


def test_no_key_is_updated_without_a_revision_and_none_through_nats_pys_kv() -> None:
    # kv.update without a revision expects 0, and nats-py's KV knows no TTL of a key.
    used = [f"{path}:{call.lineno}" for path, call, _ in calls("key_value", "create_key_value")]
    assert used == []
    revision = inspect.signature(Bucket.update).parameters["revision"]
    assert revision.default is inspect.Parameter.empty


@pytest.mark.parametrize("line", ["sync_interval: always", 'ping_interval: "10s"', "ping_max: 2"])
def test_the_brokers_configuration_syncs_what_it_acknowledges(line: str) -> None:
    # The server's default syncs every two minutes: a power loss takes acknowledged events.
    public_keys = dict.fromkeys(Identity, "U")
    broker = Configuration(host="h", port=1, store=Path("store"), public_keys=public_keys)
    assert line in broker.text()


def test_only_what_heals_by_itself_is_written_without_a_sync() -> None:
    unsynced = {
        definition.name
        for definition in streams.definitions(Capacity())
        if definition.config.get("persist_mode") == "async"
    }
    facts = {streams.REQUESTS, streams.EVENTS, streams.DEAD_LETTERS}
    assert unsynced.isdisjoint(facts | {streams.bucket_stream(streams.KEYS)})
    assert all(
        definition.config["storage"] == "file" for definition in streams.definitions(Capacity())
    )


def test_a_delivery_is_never_the_last_one() -> None:
    # After max_deliver a message stays in a work queue, unseen, and counts against its limit.
    lane = streams.request_consumer_config("demo", "a", timedelta(seconds=10))
    assert (lane["max_deliver"], streams.history_consumer_config()["max_deliver"]) == (-1, -1)


def test_what_waits_does_not_age_out_of_the_queue() -> None:
    # max_age counts from publishing, also for a message that is being worked on.
    capacity = ProvisionSettings().capacity()
    oldest = (capacity.waiting_deadline + capacity.generating_deadline).total_seconds()
    (queue,) = (d for d in streams.definitions(capacity) if d.name == streams.REQUESTS)
    assert queue.config["max_age"] >= 3 * oldest * 1e9
    assert queue.config["discard"] == "new"
