"""What one request may cost in bytes and in time, on a real connection."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.whole_world import WholeWorld
from tests.support.wire import Wire, wire_to

GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/chat/sessions HTTP/1.1\r\nHost: localhost\r\n"
NOWHERE = POST.replace(b"/api/chat/sessions", b"/nothing")
SOON = timedelta(milliseconds=400)


@asynccontextmanager
async def wire_of(**settings: object) -> AsyncGenerator[Wire]:
    async with (
        RunningGateway(
            quick_settings("nats://127.0.0.1:1", **settings), open_world=WholeWorld().open
        ) as gateway,
        wire_to(gateway.url) as wire,
    ):
        yield wire


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (GET + b"X: " + b"a" * 70_000, 431, "request_header_fields_too_large"),
        (GET + b"X: %s\r\n" % (b"a" * 700) * 95, 431, "request_header_fields_too_large"),
        (GET + b"X: a\r\n" * 100, 431, "request_header_fields_too_large"),
        (GET.replace(b"models", b"models?" + b"a" * 9000), 414, "uri_too_long"),
        (GET.replace(b"models", b"models?" + b"a" * 200_000), 414, "uri_too_long"),
    ],
    ids=["one long header", "many long headers", "many headers", "address", "endless address"],
)
async def test_a_head_that_is_too_large_is_refused_however_it_comes(
    head: bytes, status: int, code: str
) -> None:
    # In one packet, too: all of it has been read then before anything can be counted.
    async with wire_of() as wire:
        await wire.say(head + b"\r\n\r\n")
        heard = await wire.hear()
    assert heard.statuses == [status]
    assert heard.error["code"] == code


async def test_a_head_at_its_limits_is_answered() -> None:
    async with wire_of(max_headers=10, max_url_bytes=1024) as wire:
        head = GET.replace(b"models", b"models?" + b"a" * (1024 - len(b"/v1/models?")))
        await wire.say(head + b"X: a\r\n" * 9 + b"\r\n")
        assert b" 200 " in await wire.answer()


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    async with wire_of(max_body_bytes=2048) as wire:
        await wire.say(POST + b"Content-Length: 2049\r\n\r\n")
        assert b" 413 " in await wire.answer()


async def test_a_body_that_grows_too_large_is_refused() -> None:
    async with wire_of(max_body_bytes=2048) as wire:
        chunk = b"400\r\n%s\r\n" % (b"a" * 1024)
        await wire.say(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3)
        assert b" 413 " in await wire.answer()


@pytest.mark.parametrize("what", [b"0\r\nX: ", b"2;"], ids=["trailers", "extensions of a chunk"])
async def test_what_is_no_body_does_not_fill_the_memory(what: bytes) -> None:
    async with wire_of() as wire:
        await wire.say(POST + b"Transfer-Encoding: chunked\r\n\r\n" + what)
        for _ in range(40):
            await wire.say(b"a" * 16_384)
        heard = await wire.hear()
    assert heard.statuses in ([], [431])


async def dribble(wire: Wire, data: bytes, every: float = 0.05) -> None:
    """Say one byte after another until the server has had enough."""
    beat = asyncio.Event()
    for place in range(len(data)):
        if wire.answered:
            return
        await wire.say(data[place : place + 1])
        try:
            # The pace of the attack itself.
            await asyncio.wait_for(beat.wait(), every)
        except TimeoutError:
            continue


async def closes_under(wire: Wire, data: bytes) -> list[int]:
    attack = asyncio.create_task(dribble(wire, data))
    try:
        return (await wire.hear()).statuses
    finally:
        attack.cancel()
        await asyncio.gather(attack, return_exceptions=True)


async def test_a_head_that_dribbles_is_not_waited_for() -> None:
    async with wire_of(head_timeout=SOON) as wire:
        assert await closes_under(wire, GET + b"X: a\r\n" * 1000) == [408]


async def test_empty_lines_do_not_keep_an_idle_connection() -> None:
    async with wire_of(head_timeout=SOON) as wire:
        await wire.say(GET + b"\r\n")
        assert b" 200 " in await wire.answer()
        assert await closes_under(wire, b"\r\n" * 1000) == [408]


async def test_a_body_of_which_nothing_comes_is_not_waited_for() -> None:
    async with wire_of(body_timeout=SOON) as wire:
        await wire.say(POST + b"Content-Length: 10\r\n\r\n{")
        assert (await wire.hear()).statuses == [408]


async def test_a_body_that_dribbles_is_not_waited_for() -> None:
    async with wire_of(body_deadline=SOON) as wire:
        await wire.say(POST + b"Content-Length: 2000\r\n\r\n{")
        assert await closes_under(wire, b" " * 1000) == [408]


async def test_the_rest_of_a_body_that_was_refused_is_not_waited_for() -> None:
    async with wire_of(body_timeout=SOON) as wire:
        await wire.say(NOWHERE + b"Content-Length: 99999\r\n\r\n")
        assert b" 404 " in await wire.answer()
        assert await closes_under(wire, b" " * 1000) == []


async def test_a_body_that_was_refused_and_comes_whole_costs_no_connection() -> None:
    async with wire_of() as wire:
        await wire.say(NOWHERE + b"Content-Length: 3\r\n\r\n")
        assert b" 404 " in await wire.answer()
        await wire.say(b"abc" + GET + b"\r\n")
        assert b" 200 " in await wire.answer()


async def test_an_idle_connection_is_closed() -> None:
    async with wire_of(keep_alive=timedelta(seconds=1)) as wire:
        await wire.say(GET + b"\r\n")
        assert b" 200 " in await wire.answer()
        assert (await wire.hear()).data == b""
