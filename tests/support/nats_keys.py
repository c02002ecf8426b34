"""The keys of this test process: every broker that a test starts knows the same ones."""

import asyncio
import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from nats.aio.client import Client

from deploy.nats.keys import Keys
from shared.contracts.identities import Identity
from shared.messaging import tidy_client
from shared.nkey_seeds import new_seed, public_key, read_seed

_connected: dict[str, list[Client]] = {}

TESTER: Final = "tester"
"""Who may do everything, to look at what the services have done; no configuration ships it."""


@cache
def known_keys() -> Keys:
    """The keys of the services."""
    directory = Path(tempfile.mkdtemp(prefix="parley-keys-"))
    owner = os.getpid()

    def remove() -> None:
        # A forked child ends too.
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    made = Keys(directory / "keys")
    made.ensure()
    return made


def seed_file(identity: Identity) -> Path:
    """What a service that a test starts finds at ``NATS_NKEY_SEED_FILE``."""
    return known_keys().file(identity)


@cache
def _testers_seed() -> str:
    return new_seed()


def tester_key() -> str:
    """What a broker knows the tester by."""
    return public_key(_testers_seed())


def tester() -> str:
    """The tester as a user of a broker's configuration."""
    return f"    {{ nkey: {tester_key()} }}"


async def connect(
    url: str, identity: Identity | None = None, *, keys: Keys | None = None, **options: object
) -> Client:
    """A connection of the test's own; as the tester, or in the name of a service.

    ``keys`` are those of a broker that is not the tests' own.
    """
    if identity is None:
        seed, inbox = _testers_seed(), "_INBOX_tester"
    else:
        seed, inbox = read_seed((keys or known_keys()).file(identity)), identity.inbox
    client = await tidy_client.connect(url, nkeys_seed_str=seed, inbox_prefix=inbox, **options)
    _connected.setdefault(url, []).append(client)
    return client


async def close_rest(url: str) -> None:
    """Close what a test has left open at this broker, as one that fails in its middle does.

    Else its sockets would stay until the garbage collector finds them in a later test, and that one
    would fail by the warning.
    """
    for client in _connected.pop(url, []):
        if not client.is_closed:
            # Its broker may have been killed: see the fixture ``client``.
            with suppress(OSError, TypeError):
                await asyncio.wait_for(client.close(), 5)
