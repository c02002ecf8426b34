"""The broker connection of a service: one per process, for FastStream and for the raw client."""

import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, TypedDict

import structlog
from faststream.nats import NatsBroker, NatsNKey
from nats.aio.client import Client

from shared.contracts.identities import Identity
from shared.errors import BrokerUnavailable
from shared.messaging import tidy_client
from shared.nkey_seeds import read_seed
from shared.settings import NatsSettings

# What is published while the connection is away waits here; nats-py refuses beyond it.
_PENDING_BYTES: Final = 16 * 2**20
_NOT_ALLOWED: Final = "permissions violation"
_UNKNOWN_HERE: Final = "authorization violation"

log = structlog.stdlib.get_logger(__name__)


class Credentials(TypedDict):
    """What nats-py's ``connect`` takes of an identity."""

    name: str
    inbox_prefix: str
    nkeys_seed_str: str | None


def credentials(identity: Identity, seed_file: Path | None) -> Credentials:
    """How to connect as ``identity`` for a moment; a service uses ``build_broker``.

    Raises:
        WrongSeed: the file holds no key.
    """
    return {
        "name": f"parley-{identity}",
        "inbox_prefix": identity.inbox,
        # Read once: a file that goes away later must not be in the way of a reconnect.
        "nkeys_seed_str": read_seed(seed_file) if seed_file else None,
    }


class CredentialsRefused(BrokerUnavailable):
    """The broker does not know the key that a service shows, or asks for one that it has not."""


def is_refusal(error: BaseException) -> bool:
    """Whether the broker has turned a connection down for its credentials."""
    return _UNKNOWN_HERE in str(error).lower()


def refused(settings: NatsSettings) -> CredentialsRefused:
    """The sentence about a refusal, which says where to look."""
    # The part before the @ is a secret.
    places = ", ".join(server.rpartition("@")[2] for server in settings.servers)
    if settings.nkey_seed_file is None:
        return CredentialsRefused(
            f"The broker at {places} asks for a key, and NATS_NKEY_SEED_FILE names none."
        )
    return CredentialsRefused(
        f"The broker at {places} refuses the key in {settings.nkey_seed_file} "
        "(NATS_NKEY_SEED_FILE)."
    )


@contextmanager
def refusal_is_a_sentence() -> Generator[None]:
    """Let a refusal at the start end the process with a sentence and exit code 2."""
    try:
        yield
    except CredentialsRefused as error:
        sys.stderr.write(f"{error.message}\n")
        raise SystemExit(2) from None


class _Reports:
    """What nats-py tells of a connection."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._refused = False
        self.client: Client | None = None
        self.stopping = False

    async def disconnected(self) -> None:
        if not self.stopping:
            log.warning("nats_disconnected")

    async def reconnected(self) -> None:
        self._refused = False
        log.info("nats_reconnected")

    async def error(self, error: Exception) -> None:
        if _NOT_ALLOWED in str(error).lower():
            # Whoever waits for an answer only sees a time-out: this is the reason.
            log.error("nats_permission_violation", error=str(error))
        elif not is_refusal(error):
            log.warning("nats_error", error=str(error))
        elif self.client is None:
            # nats-py would try for ever; who supervises the process hears of it at once.
            raise refused(self._settings)
        elif not self._refused:
            # What runs here may still be saved, once the broker's configuration is mended.
            self._refused = True
            log.error("nats_refused", error=refused(self._settings).message)

    async def closed(self) -> None:
        if self.client is None or self.stopping:
            return
        # For nats-py most errors of the server are the end: a user who is no more after a reload,
        # for one. A process without a broker would look well and never be restarted.
        log.critical("nats_closed", error=str(self.client.last_error))
        signal.raise_signal(signal.SIGTERM)


class _Broker(NatsBroker):
    reports: _Reports

    async def connect(self) -> Client:
        self.reports.client = await super().connect()
        return self.reports.client

    async def _connect(self) -> Client:
        # As FastStream's own, but for the client.
        client = await tidy_client.connect(**self._connection_kwargs)
        self.config.connect(client)
        return client

    async def stop(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        self.reports.stopping = True
        await super().stop(exc_type, exc_val, exc_tb)

    def _log_connection_broken(
        self, error_cb: Callable[[Exception], Awaitable[None]] | None = None
    ) -> Callable[[Exception], Awaitable[None]]:
        # FastStream's raises some errors, such as a refusal or a broker that is too busy to
        # authenticate anybody in time; during a reconnect that ends nats-py's task, silently.
        assert error_cb is not None
        return error_cb


def build_broker(
    settings: NatsSettings, identity: Identity, *, graceful_timeout: float = 15.0
) -> NatsBroker:
    """A broker that never gives up reconnecting; ``await broker.connect()`` gives the raw client.

    nats-py's default is to give up after 60 tries, and a FastStream pull loop on a closed
    connection then takes the whole event loop, signal handlers included.

    Args:
        settings: Where the broker is, and the key to show it.
        identity: Who connects: its name in the broker's monitoring, and its private inbox.
        graceful_timeout: Seconds that running handlers get when the broker stops.

    ``connect()`` raises ``CredentialsRefused`` if the broker does not let it in.
    """
    known_by = credentials(identity, settings.nkey_seed_file)
    seed = known_by["nkeys_seed_str"]
    reports = _Reports(settings)
    broker = _Broker(
        settings.servers,
        security=NatsNKey.from_seed(seed) if seed else None,
        name=known_by["name"],
        inbox_prefix=known_by["inbox_prefix"],
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        connect_timeout=5,
        # A peer that is gone without a word is noticed when a third ping is due: within 24 s.
        ping_interval=8,
        max_outstanding_pings=2,
        pending_size=_PENDING_BYTES,
        graceful_timeout=graceful_timeout,
        disconnected_cb=reports.disconnected,
        reconnected_cb=reports.reconnected,
        error_cb=reports.error,
        closed_cb=reports.closed,
        # FastStream logs an exception in a handler through this; without it they vanish.
        logger=logging.getLogger("faststream"),
        log_level=logging.DEBUG,
    )
    broker.reports = reports
    return broker
