"""``Backlog``: what ``CHAT_EVENTS`` and ``CHAT_REQUESTS`` hold, every two seconds."""

from typing import Any, Final

import structlog

from services.api.forever import forever
from shared.contracts import streams
from shared.contracts.jetstream_api import consumer_info, stream_info
from shared.errors import BrokerUnavailable
from shared.messaging.jetstream import ApiError, JetStream

log = structlog.stdlib.get_logger(__name__)

_EVERY: Final = 2.0
_FULL: Final = 0.8


class NatsBacklog:
    """The last answer counts until the next one."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._too_long = False
        self._requests: int | None = None

    def too_long(self) -> bool:
        """Whether 80 % of the stream is taken by what waits for history."""
        return self._too_long

    def requests(self) -> int | None:
        """What the queue held at the last look; ``None`` if that had no answer."""
        return self._requests

    async def watch(self) -> None:
        """Look for ever."""
        await forever(self.look, _EVERY, "watch-backlog")

    async def look(self) -> None:
        """Look once."""
        await self._look_at_requests()
        try:
            stream = await self._jetstream.api(stream_info(streams.EVENTS))
            consumer = await self._jetstream.api(
                consumer_info(streams.EVENTS, streams.HISTORY_CONSUMER)
            )
        except (BrokerUnavailable, ApiError):
            return
        was, self._too_long = self._too_long, _share(stream, consumer) >= _FULL
        if was != self._too_long:
            log.warning("history_backlog", too_long=self._too_long)

    async def _look_at_requests(self) -> None:
        try:
            stream = await self._jetstream.api(stream_info(streams.REQUESTS))
        except (BrokerUnavailable, ApiError):
            self._requests = None
        else:
            self._requests = int(stream["state"]["messages"])


def _share(stream: dict[str, Any], consumer: dict[str, Any]) -> float:
    state, limit = stream["state"], stream["config"].get("max_bytes", -1)
    messages = state["messages"]
    if limit <= 0 or messages == 0:
        return 0.0
    waiting = min(messages, consumer["num_pending"] + consumer["num_ack_pending"])
    return float(state["bytes"] * waiting / messages / limit)
