"""Wait until a child can do its work; notice at once when it dies instead."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from deploy.local.errors import ChildDied, NotReady, WrongSetting
from deploy.local.spec import ChildSpec, ExitsZero, HttpOk, NatsAnswers, Printed, TcpAccepts
from shared.nkey_seeds import public_key, read_seed, signature

_BETWEEN_TRIES: Final = 0.05
_ONE_TRY: Final = 2.0


class Observed(Protocol):
    """What has to be known of a child in order to wait for it."""

    @property
    def tail(self) -> tuple[str, ...]:
        """Its last lines of output, oldest first."""
        ...

    async def said_ready(self) -> None:
        """Return once a line of output has held the ready event."""
        ...

    async def wait(self) -> int:
        """Return its exit code once it has ended."""
        ...


async def wait_until_ready(spec: ChildSpec, child: Observed) -> None:
    """Return when ``child`` is ready in the sense of its spec.

    Raises:
        ChildDied: it ended first.
        NotReady: it lives, but its deadline is over.
    """
    ended = asyncio.create_task(child.wait())
    ready = asyncio.create_task(_ready(spec, child))
    seconds = spec.ready_timeout.total_seconds()
    try:
        await asyncio.wait({ended, ready}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and not (isinstance(spec.readiness, ExitsZero) and ended.result() == 0):
            raise died(spec, child, ended.result())
        if not ready.done() and not ended.done():
            sentence = f"{spec.name} was not ready after {seconds:g} s (PARLEY_READY_TIMEOUT)."
            raise NotReady(
                sentence,
                details=child.tail,
            )
    finally:
        ended.cancel()
        ready.cancel()
        await asyncio.gather(ended, ready, return_exceptions=True)


def died(spec: ChildSpec, child: Observed, code: int) -> ChildDied:
    """The sentence about a child that ended before it was ready."""
    if code == WrongSetting.exit_code and child.tail:
        # It has explained itself in one sentence; that is the message.
        return ChildDied(f"{spec.name}: {child.tail[-1].strip()}", code=code)
    return ChildDied(
        f"{spec.name} {how_it_ended(code)} before it was ready.", code=code, details=child.tail
    )


def how_it_ended(code: int) -> str:
    """``ended with exit code 1`` or ``was killed by SIGKILL``."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


async def tcp_accepts(host: str, port: int) -> bool:
    """Whether somebody accepts connections at ``host:port``."""
    try:
        async with asyncio.timeout(_ONE_TRY):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError, UnicodeError):  # the last: no name that a host can have
        return False
    writer.close()
    return True


async def nats_answers(host: str, port: int, key_file: Path | None = None) -> bool:
    """Whether a NATS server at ``host:port`` introduces itself and answers a ping."""
    try:
        async with asyncio.timeout(_ONE_TRY):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                kind, _, info = (await reader.readline()).partition(b" ")
                if kind != b"INFO" or "server_id" not in json.loads(info):
                    return False
                options = {"verbose": False, "pedantic": False, **_proof(key_file, info)}
                writer.write(b"CONNECT %s\r\nPING\r\n" % json.dumps(options).encode())
                return (await reader.readline()).strip() == b"PONG"
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False


def _proof(key_file: Path | None, info: bytes) -> dict[str, str]:
    nonce = json.loads(info).get("nonce")
    if key_file is None or nonce is None:
        return {}
    seed = read_seed(key_file)
    return {"nkey": public_key(seed), "sig": signature(seed, nonce)}


async def http_ok(url: str) -> bool:
    """Whether GET ``url``, an ``http`` address of one of our own children, answers 200."""
    parts = urlsplit(url)
    request = (
        f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_ONE_TRY):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            try:
                writer.write(request.encode())
                protocol, _, rest = (await reader.readline()).partition(b" ")
                return protocol.startswith(b"HTTP/") and rest.startswith(b"200")
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False


async def _ready(spec: ChildSpec, child: Observed) -> None:
    match spec.readiness:
        case Printed():
            await child.said_ready()
        case ExitsZero():
            await child.wait()
        case _:
            await _until_it_answers(spec.readiness)


async def _until_it_answers(readiness: TcpAccepts | NatsAnswers | HttpOk) -> None:
    while True:
        if await _answers(readiness):
            return
        await asyncio.sleep(_BETWEEN_TRIES)


async def _answers(readiness: TcpAccepts | NatsAnswers | HttpOk) -> bool:
    match readiness:
        case TcpAccepts(host, port):
            return await tcp_accepts(host, port)
        case NatsAnswers(host, port, key_file):
            return await nats_answers(host, port, key_file)
        case HttpOk(url):
            return await http_ok(url)
