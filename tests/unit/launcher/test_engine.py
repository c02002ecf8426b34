"""Which engines are used."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from pydantic import SecretStr

from deploy.local.engine import Engines, find_engines

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
async def requests() -> list[bytes]:
    """The heads of the requests that the engine has got."""
    return []


@pytest.fixture
async def ollama(requests: list[bytes]) -> AsyncGenerator[str]:
    """The address of an engine that tells its version."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        body = b'{"version":"0.12.0"}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_an_engine_at_the_usual_place_is_used(ollama: str) -> None:
    assert await find_engines((), default=ollama) == Engines(urls=(ollama,))


async def test_without_an_engine_there_the_demo_answers() -> None:
    assert await find_engines((), default=NOBODY) == Engines()


async def test_engines_that_were_named_are_used_even_while_they_are_silent(ollama: str) -> None:
    found = await find_engines((ollama, NOBODY), default=NOBODY)

    assert found == Engines(urls=(ollama, NOBODY), silent=(NOBODY,))


async def test_the_engine_is_asked_with_its_key(ollama: str, requests: list[bytes]) -> None:
    await find_engines((ollama,), SecretStr("open-sesame"))

    assert requests[0].startswith(b"GET /api/version ")
    assert b"Bearer open-sesame" in requests[0]


async def test_somebody_else_on_the_port_is_no_engine() -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await find_engines((), default=f"http://127.0.0.1:{port}") == Engines()
