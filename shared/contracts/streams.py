"""Every JetStream stream, consumer and KV bucket, with retention, limits and durability.

Only ``deploy.provisioning`` creates them; everybody else uses the names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from shared.contracts import subjects
from shared.contracts.jetstream_api import bucket_key

REQUESTS: Final = "CHAT_REQUESTS"
CHUNKS: Final = "CHAT_CHUNKS"
EVENTS: Final = "CHAT_EVENTS"
DEAD_LETTERS: Final = "CHAT_DEAD_LETTERS"

LIMITS: Final = "limits"
BUDGETS: Final = "budgets"
CANCELLATIONS: Final = "cancellations"
KEYS: Final = "keys"
CATALOG: Final = "catalog"
TURNS: Final = "turns"
IDEMPOTENCY: Final = "idempotency"
BUCKETS: Final = (LIMITS, BUDGETS, CANCELLATIONS, KEYS, CATALOG, TURNS, IDEMPOTENCY)

_SYNCED: Final = frozenset({KEYS, BUDGETS})

HISTORY_CONSUMER: Final = "history"
WORKER_QUEUE_GROUP: Final = "workers"
HISTORY_QUEUE_GROUP: Final = "history"
PROVISION_QUEUE_GROUP: Final = "provisioner"

_MIB: Final = 2**20


@dataclass(frozen=True)
class Capacity:
    """What the streams must hold; computed from settings by provisioning."""

    queue_limit: int = 256
    """Requests of one model and lane, running and waiting together."""
    waiting_deadline: timedelta = timedelta(minutes=5)
    generating_deadline: timedelta = timedelta(minutes=10)
    ack_wait: timedelta = timedelta(seconds=10)
    events_max_bytes: int = 2048 * _MIB
    chunks_max_bytes: int = 1024 * _MIB


@dataclass(frozen=True)
class StreamDefinition:
    """A stream as the server's API takes it (``$JS.API.STREAM.CREATE``)."""

    name: str
    config: Mapping[str, Any] = field(hash=False)
    begins_late: bool = False
    """Whether its first sequence number is that of the microsecond in which it is made, so that
    no number comes back with a stream that was lost and made anew: a revision names one value."""


def _nanoseconds(value: timedelta) -> int:
    return int(value.total_seconds() * 1e9)


def _file_stream(name: str, stream_subjects: list[str], **config: object) -> StreamDefinition:
    base = {
        "name": name,
        "subjects": stream_subjects,
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "num_replicas": 1,
        "allow_direct": True,
        # Said although they are the server's defaults: what an older version or another client
        # has set would otherwise stand for ever.
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_bytes": -1,
        "max_age": 0,
    }
    return StreamDefinition(name, {**base, **config})


def bucket_stream(bucket: str) -> str:
    """The stream behind a KV bucket."""
    return f"KV_{bucket}"


def _bucket(bucket: str) -> StreamDefinition:
    # ``keys`` is a copy of a record that people rely on, and what ``budgets`` forgets would not be
    # missed for a month; the other buckets heal by themselves.
    durability = {} if bucket in _SYNCED else {"persist_mode": "async"}
    definition = _file_stream(
        bucket_stream(bucket),
        [bucket_key(bucket, ">")],
        discard="new",
        max_msgs_per_subject=1,
        max_bytes=256 * _MIB,
        allow_rollup_hdrs=True,
        allow_msg_ttl=True,
        deny_delete=True,
        **durability,
    )
    # Its sums take long enough for the bucket to be lost, made anew and filled in the meantime.
    return replace(definition, begins_late=bucket == BUDGETS)


def definitions(capacity: Capacity) -> list[StreamDefinition]:
    """All streams and buckets, in the order in which they are made.

    ``max_age`` counts from publishing, also for messages in flight, hence the factors.
    """
    both = capacity.waiting_deadline + capacity.generating_deadline
    return [
        _file_stream(
            REQUESTS,
            [subjects.REQUESTS],
            retention="workqueue",
            discard="new",
            discard_new_per_subject=True,
            # Counts running requests too: a message stays until its ack.
            max_msgs_per_subject=capacity.queue_limit,
            max_age=_nanoseconds(3 * both),
            duplicate_window=_nanoseconds(min(timedelta(minutes=2), 3 * both)),
        ),
        _file_stream(
            CHUNKS,
            [subjects.CHUNKS],
            # A kill -9 of the broker loses the last milliseconds; readers repair them from
            # ``completed``. In return a token costs the broker no disk sync.
            persist_mode="async",
            max_age=_nanoseconds(capacity.generating_deadline + timedelta(minutes=10)),
            max_bytes=capacity.chunks_max_bytes,
        ),
        _file_stream(
            EVENTS,
            [subjects.EVENTS],
            discard="new",
            max_bytes=capacity.events_max_bytes,
            max_age=_nanoseconds(timedelta(days=7)),
        ),
        _file_stream(
            DEAD_LETTERS,
            [subjects.DEAD_LETTERS],
            discard="new",
            max_bytes=256 * _MIB,
            max_age=_nanoseconds(timedelta(days=30)),
        ),
        *(_bucket(bucket) for bucket in BUCKETS),
    ]


def request_consumer(model: str, lane: str) -> str:
    """The durable that all workers of ``model`` pull from, one per lane."""
    return f"w_{subjects.model_slug(model)}_{lane}"


def request_consumer_config(model: str, lane: str, ack_wait: timedelta) -> dict[str, Any]:
    """A work queue allows one durable per subject; workers are many pullers on it.

    ``max_deliver`` is unlimited: a delivery is no attempt, workers count those that reached an
    engine.
    """
    return {
        "durable_name": request_consumer(model, lane),
        "filter_subject": subjects.requests(model, lane),
        "ack_policy": "explicit",
        "ack_wait": _nanoseconds(ack_wait),
        "max_deliver": -1,
        "max_ack_pending": -1,
        "max_waiting": 2048,
    }


def history_consumer_config() -> dict[str, Any]:
    """The durable of the history service: never gives up on an event."""
    return {
        "durable_name": HISTORY_CONSUMER,
        "filter_subject": subjects.EVENTS,
        "ack_policy": "explicit",
        "ack_wait": _nanoseconds(timedelta(seconds=30)),
        "max_deliver": -1,
        "max_ack_pending": 64,
    }
