"""``CounterStore`` over the bucket ``budgets``."""

from decimal import Decimal, InvalidOperation

import orjson
import structlog

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.ports.budgets import Counter, HeldCounter
from shared.contracts import streams
from shared.contracts.ids import CompletionId
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream

log = structlog.stdlib.get_logger(__name__)

_UNKNOWN = Counter(whole=False)


class NatsCounters:
    """Compare and set; money is decimal text, for JSON has no exact numbers of that size."""

    def __init__(self, jetstream: JetStream) -> None:
        self._bucket = Bucket(jetstream, streams.BUDGETS)

    async def get(self, key: str) -> HeldCounter | None:
        """The counter, or ``None``."""
        with refusals_mean_unavailable():
            entry = await self._bucket.get(f"spent.{key}")
        return None if entry is None else HeldCounter(_counter(entry.value), entry.revision)

    async def set(self, key: str, counter: Counter, revision: int | None, ttl: float) -> bool:
        """Replace the one of ``revision``; false if it has changed."""
        name, value = f"spent.{key}", _value(counter)
        with refusals_mean_unavailable():
            try:
                if revision is None:
                    await self._bucket.create(name, value, ttl=ttl)
                else:
                    await self._bucket.update(name, value, revision, ttl=ttl)
            except AlreadyPublished:
                return False
        return True


def _value(counter: Counter) -> bytes:
    return orjson.dumps(
        {
            "tokens": counter.tokens,
            "money": format(counter.money, "f"),
            "open": dict(counter.open),
            "whole": counter.whole,
            "doubts": counter.doubts,
            "again": counter.again,
        }
    )


def _counter(value: bytes) -> Counter:
    try:
        read = orjson.loads(value)
        return Counter(
            tokens=int(read["tokens"]),
            money=Decimal(read["money"]),
            open={CompletionId(name): int(until) for name, until in read["open"].items()},
            whole=bool(read["whole"]),
            doubts=int(read["doubts"]),
            again=int(read.get("again", 0)),
        )
    except (InvalidOperation, KeyError, TypeError, ValueError, AttributeError):
        # Nobody but gateways writes here. What a later one writes differently is summed anew.
        log.warning("budget_malformed")
        return _UNKNOWN
