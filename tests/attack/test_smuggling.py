"""Requests that two readers may understand differently: refused, and never answered twice."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.whole_world import WholeWorld
from tests.support.wire import Heard, wire_to

GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/chat/sessions HTTP/1.1\r\nHost: localhost\r\n"
LAST = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
WEBSOCKET = (
    b"GET /ws/ai-chat/sessions HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

REFUSED = {
    "length and chunked": POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n" + CHUNKS,
    "chunked and length": POST + CHUNKED + b"Content-Length: 4\r\n\r\n" + CHUNKS,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}",
    "one length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -2\r\n\r\n{}",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "an endless length": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "a quoted encoding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNKS,
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKS,
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS,
    "gzip below chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "chunked twice": POST + CHUNKED * 2 + b"\r\n" + CHUNKS,
    "chunked and another": POST + CHUNKED + b"Transfer-Encoding: x\r\n\r\n" + CHUNKS,
    "a vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + CHUNKS,
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + CHUNKS,
    "a folded encoding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "a folded header": GET + b"X: a\r\n b\r\n\r\n",
    "a folded host": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n .evil\r\n\r\n",
    "a fold at the beginning": b"GET /v1/models HTTP/1.1\r\n X: y\r\nHost: localhost\r\n\r\n",
    "bare LF": b"GET /v1/models HTTP/1.1\nHost: localhost\n\n",
    "one bare LF": b"GET /v1/models HTTP/1.1\r\nX: a\nHost: localhost\r\n\r\n",
    "bare CR": GET + b"X: a\rY: b\r\n\r\n",
    "a space in a name": GET + b"X Y: z\r\n\r\n",
    "NUL in a header": GET + b"X: a\0b\r\n\r\n",
    "NUL in the address": b"GET /v1/mo\0dels HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another host in the address": b"GET http://evil/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "this host in the address": b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil\r\n\r\n",
    "a fragment": b"GET /v1/models#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an escaped slash": GET.replace(b"v1/models", b"api/chat%2fkeys") + b"\r\n",
    "an escaped slash at the end": GET.replace(b"models", b"models%2F") + b"\r\n",
    "one behind a model": GET.replace(b"models", b"models/demo%2f") + b"\r\n",
    "one behind a model, and another": GET.replace(b"models", b"models/demo%2f/") + b"\r\n",
    "one instead of a model": GET.replace(b"models", b"models/%2fsettings") + b"\r\n",
    "one before its settings": POST.replace(b"sessions", b"models/demo%2fsettings") + b"\r\n",
    "a socket behind an escaped slash": WEBSOCKET.replace(b"sessions", b"sessions%2f") + b"\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a socket with a body": WEBSOCKET + b"Content-Length: 10\r\n\r\n" + LAST,
    "a socket with chunks": WEBSOCKET + CHUNKED + b"\r\n" + CHUNKS,
}
BROKEN = {
    "bare LF": b"2\n{}\n0\n\n",
    "LF in an extension": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "a negative size": b"-2\r\n{}\r\n0\r\n\r\n",
    "a prefixed size": b"0x2\r\n{}\r\n0\r\n\r\n",
    "an endless size": b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n",
    "more than its size": b"2\r\n{}XX\r\n0\r\n\r\n",
    "no end of line": b"2\r\n{}0\r\n\r\n",
}


ELSEWHERE = {
    "no host": b"GET /v1/models HTTP/1.1\r\n",
    "a list of hosts": b"GET /v1/models HTTP/1.1\r\nHost: localhost, evil\r\n",
    "somebody at a host": b"GET /v1/models HTTP/1.1\r\nHost: a@localhost\r\n",
    "two hosts": GET + b"Host: evil\r\n",
}
FOREIGN = {
    "HTTP/2.0": GET.replace(b"1.1", b"2.0"),
    "HTTP/0.9": GET.replace(b" HTTP/1.1", b""),
}


@asynccontextmanager
async def running() -> AsyncGenerator[RunningGateway]:
    settings = quick_settings(auth="required")
    async with RunningGateway(settings, open_world=WholeWorld().open) as gateway:
        yield gateway


async def heard_for(requests: Mapping[str, bytes]) -> dict[str, Heard]:
    """What comes on a connection for each of them, until it is closed."""
    heard: dict[str, Heard] = {}
    async with running() as gateway:
        for name, data in requests.items():
            async with wire_to(gateway.url) as wire:
                await wire.say(data)
                heard[name] = await wire.hear()
    return heard


def statuses(heard: Mapping[str, Heard]) -> dict[str, list[int]]:
    return {name: each.statuses for name, each in heard.items()}


async def test_what_is_ambiguous_is_refused_and_the_connection_closed() -> None:
    heard = await heard_for({name: data + LAST for name, data in REFUSED.items()})
    assert statuses(heard) == {name: [400] for name in REFUSED}
    assert {each.error["type"] for each in heard.values()} == {"invalid_request_error"}


async def test_an_escaped_slash_inside_the_name_of_a_model_is_understood() -> None:
    settings = quick_settings(auth="local")
    async with RunningGateway(settings, open_world=WholeWorld().open) as gateway:
        for path in ("/v1/models/hf.co%2FSome%2fmodel:Q4/", "/v1/models?a=b%2f", "/v1/models/?%2f"):
            reply = await gateway.http.get(path)
            if "hf.co" in path:
                assert (reply.status_code, reply.json()["error"]["code"]) == (
                    404,
                    "model_not_found",
                )
            else:
                assert reply.status_code == 200
        # Unescaped it is the same name.
        assert (await gateway.http.get("/v1/models/hf.co/Some/model:Q4")).status_code == 404


async def test_a_broken_body_ends_the_connection() -> None:
    head = POST + CHUNKED + b"\r\n"
    heard = await heard_for({name: head + data + LAST for name, data in BROKEN.items()})
    # Its own refusal may have been on the way already; of what follows nothing is answered.
    assert all(each in ([], [400], [401]) for each in statuses(heard).values())


async def test_a_host_that_is_not_ours_is_refused() -> None:
    close = b"Connection: close\r\n\r\n"
    heard = await heard_for({name: data + close for name, data in ELSEWHERE.items()})
    assert statuses(heard) == {name: [421] for name in ELSEWHERE}


async def test_another_protocol_is_refused() -> None:
    heard = await heard_for({name: data + b"\r\n" + LAST for name, data in FOREIGN.items()})
    assert statuses(heard) == {name: [505] for name in FOREIGN}


async def test_trailers_are_no_headers() -> None:
    world = WholeWorld()
    trailers = b"Host: evil\r\nX-Request-Id: smuggled\r\nAuthorization: Bearer %s\r\n\r\n"
    settings = quick_settings(auth="required")
    async with RunningGateway(settings, open_world=world.open) as gateway:
        key = (await world.new_key("ann")).encode()
        async with wire_to(gateway.url) as wire:
            # In one packet: a head is looked at after all that came with it has been read.
            await wire.say(POST + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n" + trailers % key)
            assert b" 401 " in await wire.answer()
        known = POST + b"Authorization: Bearer " + key + b"\r\n" + CHUNKED + b"\r\n"
        async with wire_to(gateway.url) as wire:
            await wire.say(known + b"2\r\n{}\r\n0\r\n" + trailers % b"pk-none")
            made = await wire.answer()
    assert b" 201 " in made
    assert b"smuggled" not in made


async def test_requests_in_one_packet_are_answered_once_each_in_order() -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(LAST)
    # The first one's body is a request, too: it stays a body.
    packet = GET + upgrade + length + LAST + GET + b"\r\n" + LAST
    assert statuses(await heard_for({"": packet})) == {"": [401, 401, 401]}
