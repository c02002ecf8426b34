"""The broker connection of a service: one per process, for FastStream and for the raw client."""

import logging
from typing import Final

import structlog
from faststream.nats import NatsBroker

from shared.settings import NatsSettings

# What is published while the connection is away waits here; nats-py refuses beyond it.
_PENDING_BYTES: Final = 16 * 2**20

log = structlog.stdlib.get_logger(__name__)


def build_broker(
    settings: NatsSettings, *, name: str, inbox_prefix: str, graceful_timeout: float = 15.0
) -> NatsBroker:
    """A broker that never gives up reconnecting; ``await broker.connect()`` gives the raw client.

    nats-py's default is to give up after 60 tries, and a FastStream pull loop on a closed
    connection then takes the whole event loop, signal handlers included.

    Args:
        settings: Where the broker is.
        name: How the connection is called in the broker's monitoring.
        inbox_prefix: The service's private inbox, such as ``_INBOX_api``.
        graceful_timeout: Seconds that running handlers get when the broker stops.
    """

    async def on_disconnect() -> None:
        log.warning("nats_disconnected")

    async def on_reconnect() -> None:
        log.info("nats_reconnected")

    async def on_error(error: Exception) -> None:
        log.warning("nats_error", error=str(error))

    return NatsBroker(
        settings.servers,
        name=name,
        inbox_prefix=inbox_prefix,
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        connect_timeout=5,
        # A peer that is gone without a word is noticed when a third ping is due: within 24 s.
        ping_interval=8,
        max_outstanding_pings=2,
        pending_size=_PENDING_BYTES,
        graceful_timeout=graceful_timeout,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
        error_cb=on_error,
        # FastStream logs an exception in a handler through this; without it they vanish.
        logger=logging.getLogger("faststream"),
        log_level=logging.DEBUG,
    )
