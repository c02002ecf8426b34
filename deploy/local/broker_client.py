"""How the commands talk to history over the broker, past all gateways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import nats.errors

from deploy.local import running
from deploy.local.data_dir import DataDir
from deploy.local.errors import LauncherError
from deploy.local.external import shown
from deploy.local.nats_server import keys_of
from deploy.nats.keys import Keys
from services.api.adapters.nats_history import NatsHistory
from services.api.ports.sessions import Asking
from shared.contracts.audit import OPERATOR
from shared.contracts.identities import Identity
from shared.errors import ChatError
from shared.messaging.connection import credentials, is_refusal
from shared.messaging.tidy_client import connect
from shared.nkey_seeds import WrongSeed
from shared.observability import audit

_TIMEOUT: Final = 5.0

_T = TypeVar("_T")


class BrokerClient:
    """What a command asks history, by a connection of its own for each piece of work."""

    def __init__(self, data: DataDir, nats_url: str | None, nats_keys_dir: Path | None) -> None:
        """Over the broker of ``data``, or the user's own at ``nats_url``; see ``asking``."""
        self._data = data
        self._nats_url = nats_url
        self._nats_keys_dir = nats_keys_dir

    def run(self, work: Callable[[Asking], Awaitable[_T]]) -> _T:
        """What ``work`` gives.

        Raises:
            LauncherError: nothing runs there, or history refuses; with its own sentence.
        """

        async def connected() -> _T:
            async with asking(self._data, self._nats_url, self._nats_keys_dir) as history:
                return await work(history)

        try:
            return asyncio.run(connected())
        except ChatError as error:
            sentence = f"{error.message.rstrip('.')}."
            raise LauncherError(sentence) from error


@asynccontextmanager
async def asking(
    data: DataDir, nats_url: str | None, nats_keys_dir: Path | None
) -> AsyncGenerator[NatsHistory]:
    """History of the installation on ``data``, or behind the broker at ``nats_url``.

    Args:
        data: Where Parley may be running.
        nats_url: The user's own broker (``NATS_URL``), which a running launcher uses too.
        nats_keys_dir: The keys of that broker (``NATS_KEYS_DIR``), if it wants any.

    Raises:
        LauncherError: no broker answers, or it does not know the operator's key.
    """
    url = nats_url or _broker_of(data)
    seed = _seed_file(data, nats_url, nats_keys_dir)
    try:
        proof = credentials(Identity.OPERATOR, seed)
    except WrongSeed as error:
        sentence = f"{error}."
        raise LauncherError(sentence) from error
    try:
        client = await connect(
            [part.strip() for part in url.split(",")],
            **proof,
            connect_timeout=5,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.2,
            error_cb=_raised_anyway,
        )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        if is_refusal(error):
            sentence = f"the broker at {shown(url)} does not know the operator's key."
            raise LauncherError(sentence) from error
        sentence = f"no broker answers at {shown(url)}."
        raise LauncherError(sentence) from error
    audit.ACTOR.set(OPERATOR)
    try:
        yield NatsHistory(client, timeout=_TIMEOUT)
    finally:
        await client.close()


def _seed_file(data: DataDir, nats_url: str | None, nats_keys_dir: Path | None) -> Path | None:
    if nats_url is None:
        return keys_of(data.nats).file(Identity.OPERATOR)
    if nats_keys_dir is None:
        return None
    return Keys(nats_keys_dir.absolute()).file(Identity.OPERATOR)


def _broker_of(data: DataDir) -> str:
    for entry in running.processes(data):
        if entry.name == "nats" and entry.url:
            return entry.url
    sentence = (
        f"Parley does not run on {data.root}; `make run` or `parley up` starts it, "
        "and --data-dir names another directory."
    )
    raise LauncherError(sentence)


async def _raised_anyway(_error: Exception) -> None:
    return
