"""Who may publish and hear what is what the contracts say, and nothing is granted besides."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.asyncapi.channel import Channel
from deploy.asyncapi.nats_channels import nats_channels
from deploy.nats.permissions import PERMISSIONS, matches
from shared.contracts import streams, subjects
from shared.contracts.identities import WORKERS_ANSWER, Identity
from shared.contracts.jetstream_api import API, bucket_key
from shared.contracts.streams import Capacity

ROOT = Path(__file__).parents[2]
CHANNELS = {channel.key: channel for channel in nats_channels()}
PATTERNS = sorted(
    value
    for value in vars(subjects).values()
    if isinstance(value, str) and value.startswith("chat.")
)
BUCKETS = {streams.bucket_stream(bucket): bucket for bucket in streams.BUCKETS}

WRITERS = {
    streams.LIMITS: {Identity.GATEWAY},
    streams.BUDGETS: {Identity.GATEWAY},
    streams.CANCELLATIONS: {Identity.GATEWAY},
    streams.KEYS: {Identity.HISTORY},
    streams.CATALOG: {Identity.WORKER},
    streams.TURNS: {Identity.GATEWAY},
    streams.IDEMPOTENCY: {Identity.GATEWAY},
}
# Messages that the AsyncAPI document does not count: a subscription is proven by a message to its
# own subject, and the commands ask history as a gateway does.
PROVES = {
    ("control", Identity.WORKER),
    ("watched", Identity.GATEWAY),
    ("settings", Identity.GATEWAY),
}


def subject(channel: Channel) -> str:
    """Its address as a pattern."""
    return re.sub(r"{\w+}", "*", channel.address)


def parties(channel: Channel, action: str) -> set[Identity]:
    return {Identity(flow.service) for flow in channel.flows if flow.action == action}


def may(identity: Identity, action: str, pattern: str) -> bool:
    """Whether it may for all subjects of ``pattern``."""
    granted = PERMISSIONS[identity]
    lists = {"publish": granted.publish, "subscribe": granted.subscribe}
    return any(matches(each, pattern) for each in lists[action])


def may_some(identity: Identity, action: str, pattern: str) -> bool:
    """Whether it may for any subject of ``pattern``."""
    granted = PERMISSIONS[identity]
    lists = {"publish": granted.publish, "subscribe": granted.subscribe}
    return any(matches(each, pattern) or matches(pattern, each) for each in lists[action])


@pytest.mark.parametrize("key", sorted(CHANNELS))
def test_who_sends_on_a_channel_may_publish_there_and_nobody_else(key: str) -> None:
    channel, pattern = CHANNELS[key], subject(CHANNELS[key])
    senders = parties(channel, "send")
    if key.startswith("history."):
        senders.add(Identity.OPERATOR)
    senders |= {identity for proven, identity in PROVES if proven == key}
    if key == "dead_letters":
        # Each its own.
        assert {each for each in Identity if may_some(each, "publish", pattern)} == senders
        assert not [each for each in Identity if may(each, "publish", pattern)]
    elif key == "events":
        # Accepted and completed are channels of their own.
        assert not [each for each in Identity if may(each, "publish", pattern)]
    else:
        assert {each for each in Identity if may(each, "publish", pattern)} == senders
        assert {each for each in Identity if may_some(each, "publish", pattern)} == senders


@pytest.mark.parametrize("key", sorted(CHANNELS))
def test_who_receives_from_a_channel_may_subscribe_it_or_pulls_from_its_stream(key: str) -> None:
    channel, pattern = CHANNELS[key], subject(CHANNELS[key])
    hearing = {each for each in Identity if may_some(each, "subscribe", pattern)}
    if channel.stream in {streams.REQUESTS, streams.EVENTS}:
        # What is consumed once, or must be confirmed, is pulled; a subscription would be a tap.
        pulled = f"{API}CONSUMER.MSG.NEXT.{channel.stream}.*"
        pulling = {each for each in Identity if may_some(each, "publish", pulled)}
        assert hearing == set()
        assert pulling >= parties(channel, "receive")
        assert len(pulling) == 1
    else:
        assert hearing == parties(channel, "receive")
        assert {each for each in Identity if may(each, "subscribe", pattern)} == hearing


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_subject_is_somebodys(pattern: str) -> None:
    assert len(PATTERNS) >= 12
    assert [each for each in Identity if may_some(each, "publish", pattern)]


def test_who_answers_may_answer_and_nobody_else() -> None:
    answering = {
        party
        for channel in CHANNELS.values()
        if channel.reply is not None
        for party in parties(channel, "receive")
    }
    # Workers in one place; others wherever they are asked to.
    anywhere = {each for each in Identity if PERMISSIONS[each].responds}
    assert anywhere == answering - {Identity.WORKER}
    place = f"{WORKERS_ANSWER}.anything"
    assert {each for each in Identity if may(each, "publish", place)} == {Identity.WORKER}
    assert {each for each in Identity if may(each, "subscribe", place)} == {Identity.GATEWAY}


@pytest.mark.parametrize("identity", Identity)
def test_who_answers_wherever_a_question_says_cannot_put_one_to_himself(identity: Identity) -> None:
    granted = PERMISSIONS[identity]
    both = [
        (said, heard)
        for said in granted.publish
        for heard in granted.subscribe
        if matches(said, heard) or matches(heard, said)
    ]
    assert not (granted.responds and both)


@pytest.mark.parametrize("bucket", streams.BUCKETS)
def test_a_bucket_is_written_by_its_owners_alone(bucket: str) -> None:
    keys = bucket_key(bucket, ">")
    assert {each for each in Identity if may_some(each, "publish", keys)} == WRITERS[bucket]
    read = f"{API}DIRECT.GET.{streams.bucket_stream(bucket)}.>"
    assert [each for each in Identity if may_some(each, "publish", read)]


def test_only_the_provisioner_makes_streams_and_consumers_and_nobody_deletes_them() -> None:
    making = re.compile(r"\$JS\.API\.(STREAM|CONSUMER)\.(DURABLE\.)?(CREATE|UPDATE)\.")
    for identity, granted in PERMISSIONS.items():
        made = [each for each in granted.publish if making.match(each)]
        assert bool(made) == (identity is Identity.PROVISIONER)
        assert not [
            each for each in granted.publish if re.search(r"\.(STREAM|CONSUMER)\.DELETE", each)
        ]
    names = {definition.name for definition in streams.definitions(Capacity())}
    provisioner = PERMISSIONS[Identity.PROVISIONER].publish
    assert {name for name in names if f"{API}STREAM.CREATE.{name}" in provisioner} == names


def test_an_inbox_is_heard_by_its_owner_alone() -> None:
    assert len({each.inbox for each in Identity}) == len(Identity)
    for owner in Identity:
        inbox = f"{owner.inbox}.anything.at.all"
        assert {each for each in Identity if may(each, "subscribe", inbox)} == {owner}
        # A worker withdraws a pull by a message to its own; others only answer.
        publishing = {each for each in Identity if may(each, "publish", inbox)}
        assert publishing == ({owner} if owner is Identity.WORKER else set())


def test_nobody_is_granted_what_is_the_systems_or_everything() -> None:
    for granted in PERMISSIONS.values():
        for pattern in (*granted.publish, *granted.subscribe):
            assert not pattern.startswith((">", "*", "$SYS", "_INBOX.", f"{API}>"))
            assert not matches(pattern, f"{API}INFO")
            assert not matches(pattern, f"{API}STREAM.NAMES")


def literals(path: Path) -> Iterator[str]:
    """Every string in a module that is not its documentation."""
    tree = ast.parse(path.read_text())
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in documented:
            yield str(node.value)


def test_a_subject_is_written_down_in_the_contracts_alone() -> None:
    # What is typed again elsewhere may be used without being granted.
    subject_like = re.compile(r"^(chat\.(?!completion)[a-z_]+(\.|$)|\$(JS|KV|SYS)\.|_INBOX)")
    places = {
        path.relative_to(ROOT).as_posix()
        for top in ("services", "shared", "deploy")
        for path in (ROOT / top).rglob("*.py")
        if any(map(subject_like.match, literals(path)))
    }
    assert places == {
        "shared/contracts/subjects.py",
        "shared/contracts/jetstream_api.py",
        "shared/contracts/identities.py",
    }


@pytest.mark.parametrize(
    ("pattern", "subject", "covered"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a", False),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a.*", True),
        ("a.*", "a.>", False),
        ("a.b", "a.*", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a.>", True),
        ("a.>", "a", False),
        ("*.b", "a.c", False),
    ],
)
def test_a_pattern_covers_as_the_broker_sees_it(pattern: str, subject: str, covered: bool) -> None:
    assert matches(pattern, subject) is covered
