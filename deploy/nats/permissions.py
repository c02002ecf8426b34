"""What each identity may publish and subscribe: allow-lists, made of the contracts' own subjects.

Nobody is denied anything: what is not listed is refused. Permissions without a deny-list cost the
broker nothing per delivery, and one look into a cache per publish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from services.history.adapters import nats_events
from services.inference_worker.adapters import nats_ledger
from shared.contracts import streams, subjects
from shared.contracts.identities import WORKERS_ANSWER, Identity
from shared.contracts.jetstream_api import (
    API,
    acknowledgements,
    bucket_key,
    consumer_create,
    consumer_info,
    consumer_next,
    direct_get,
    message_delete,
    message_get,
    stream_create,
    stream_info,
    stream_purge,
    stream_update,
)
from shared.contracts.streams import Capacity, bucket_stream

_ANY: Final = "*"
_ALL: Final = ">"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects with the wildcards ``*`` and ``>``; whatever matches none is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    responds: bool = False
    """Whether it may answer at the reply subject of a message that was delivered to it, once.

    Only for who cannot be delivered messages of its own: its question could name any subject.
    """


def _permissions(
    identity: Identity,
    *,
    publish: Iterable[str] = (),
    operations: Iterable[str] = (),
    subscribe: Iterable[str] = (),
    responds: bool = False,
) -> Permissions:
    return Permissions(
        publish=(*publish, *(API + operation for operation in operations)),
        subscribe=(f"{identity.inbox}.{_ALL}", *subscribe),
        responds=responds,
    )


def _provisioner() -> Permissions:
    # Creating and updating, not deleting: no part of Parley deletes a stream.
    names = [definition.name for definition in streams.definitions(Capacity())]
    consumers = ((streams.REQUESTS, _ANY), (streams.EVENTS, streams.HISTORY_CONSUMER))
    return _permissions(
        Identity.PROVISIONER,
        operations=[
            *(of(name) for name in names for of in (stream_info, stream_create, stream_update)),
            *(of(*names) for names in consumers for of in (consumer_info, consumer_create)),
        ],
        subscribe=[subjects.PROVISION_MODEL],
        responds=True,
    )


def _gateway() -> Permissions:
    written = (
        streams.LIMITS,
        streams.BUDGETS,
        streams.CANCELLATIONS,
        streams.TURNS,
        streams.IDEMPOTENCY,
    )
    watched = (streams.CATALOG, streams.KEYS)
    return _permissions(
        Identity.GATEWAY,
        publish=[
            subjects.REQUESTS,
            # The end of what no worker will end, also for another gateway; and its own probes.
            subjects.CHUNKS,
            subjects.CONTROL,
            subjects.WATCHED,
            subjects.WORKERS,
            subjects.SYNC,
            subjects.EVENTS_ACCEPTED,
            subjects.EVENTS_COMPLETED,
            subjects.HISTORY,
            subjects.LIVE,
            # Its own probes alone.
            subjects.SETTINGS,
            *(bucket_key(bucket, _ALL) for bucket in written),
        ],
        operations=[
            direct_get(streams.REQUESTS),
            message_delete(streams.REQUESTS),
            stream_info(streams.REQUESTS),
            consumer_info(streams.REQUESTS, _ANY),
            direct_get(streams.CHUNKS),
            direct_get(streams.CHUNKS, _ALL),
            direct_get(streams.EVENTS, subjects.EVENTS),
            stream_info(streams.EVENTS),
            consumer_info(streams.EVENTS, streams.HISTORY_CONSUMER),
            *_by_key(*written),
            *_whole(*watched),
            # Whether a key or a ticket was put there, or copied out of another stream.
            *(message_get(bucket_stream(each)) for each in (streams.KEYS, streams.IDEMPOTENCY)),
        ],
        subscribe=[
            subjects.CHUNKS,
            subjects.WATCHED,
            subjects.LIVE,
            subjects.SETTINGS,
            *(bucket_key(bucket, _ALL) for bucket in watched),
            f"{WORKERS_ANSWER}.{_ALL}",
        ],
    )


def _worker() -> Permissions:
    return _permissions(
        Identity.WORKER,
        publish=[
            # A pull is withdrawn by a message of its own to its inbox.
            f"{Identity.WORKER.inbox}.{_ALL}",
            # It may not answer wherever a question says: workers hear what they say themselves.
            f"{WORKERS_ANSWER}.{_ALL}",
            subjects.CHUNKS,
            # To the worker that it takes a completion over from, and its own probes.
            subjects.CONTROL,
            subjects.EVENTS_COMPLETED,
            subjects.PROVISION_MODEL,
            subjects.dead_letters(nats_ledger.SERVICE),
            bucket_key(streams.CATALOG, _ALL),
            acknowledgements(streams.REQUESTS, _ANY),
        ],
        operations=[
            consumer_next(streams.REQUESTS, _ANY),
            direct_get(streams.CHUNKS),
            direct_get(streams.CHUNKS, _ALL),
            direct_get(streams.EVENTS, subjects.EVENTS_COMPLETED),
            *_by_key(streams.CANCELLATIONS, streams.CATALOG),
        ],
        subscribe=[subjects.CONTROL, subjects.WATCHED, subjects.WORKERS, subjects.SYNC],
    )


def _history() -> Permissions:
    owned, counted = (streams.TURNS, streams.IDEMPOTENCY), (streams.LIMITS, streams.BUDGETS)
    return _permissions(
        Identity.HISTORY,
        publish=[
            subjects.EVENTS_COMPLETED,
            subjects.dead_letters(nats_events.SERVICE),
            subjects.LIVE,
            subjects.SETTINGS,
            bucket_key(streams.KEYS, _ALL),
            acknowledgements(streams.EVENTS, streams.HISTORY_CONSUMER),
        ],
        operations=[
            consumer_next(streams.EVENTS, streams.HISTORY_CONSUMER),
            consumer_info(streams.EVENTS, streams.HISTORY_CONSUMER),
            stream_info(streams.EVENTS),
            stream_purge(streams.EVENTS),
            direct_get(streams.EVENTS),
            direct_get(streams.EVENTS, subjects.EVENTS),
            *_whole(streams.KEYS),
            # Everything of one user, when that is to go.
            direct_get(streams.REQUESTS),
            message_delete(streams.REQUESTS),
            stream_info(streams.CHUNKS),
            stream_purge(streams.CHUNKS),
            direct_get(streams.DEAD_LETTERS),
            message_delete(streams.DEAD_LETTERS),
            *(direct_get(bucket_stream(bucket)) for bucket in owned),
            *(stream_purge(bucket_stream(bucket)) for bucket in (*owned, *counted)),
        ],
        subscribe=[subjects.HISTORY],
        responds=True,
    )


def _operator() -> Permissions:
    return _permissions(Identity.OPERATOR, publish=[subjects.HISTORY])


def _by_key(*buckets: str) -> Iterable[str]:
    """Reading one key after another, and what time it is by the broker that keeps them."""
    for bucket in buckets:
        yield direct_get(bucket_stream(bucket), bucket_key(bucket, _ALL))
        yield stream_info(bucket_stream(bucket))


def _whole(*buckets: str) -> Iterable[str]:
    """The same, or all keys in batches."""
    return (*_by_key(*buckets), *(direct_get(bucket_stream(bucket)) for bucket in buckets))


PERMISSIONS: Final[Mapping[Identity, Permissions]] = {
    Identity.PROVISIONER: _provisioner(),
    Identity.GATEWAY: _gateway(),
    Identity.WORKER: _worker(),
    Identity.HISTORY: _history(),
    Identity.OPERATOR: _operator(),
}


def matches(pattern: str, subject: str) -> bool:
    """Whether ``pattern`` covers ``subject``, which may hold wildcards itself."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == _ALL:
            return len(given) > place
        if place >= len(given) or given[place] == _ALL or token not in {_ANY, given[place]}:
            return False
    return len(given) == len(wanted)
