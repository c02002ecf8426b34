"""Replies of an engine that break its protocol, HTTP or both, as Hypothesis makes them up."""

import asyncio
import itertools
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from hypothesis import strategies as st

from tests.fakes.inference_worker.http_engine import Cut, Hang, HttpEngine, HttpStep, Raw

ANY_TEXT: Final = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(
    ["", "\0", "\ud800", "\udfff\ud800", "\u2028", "\x85", "\r\n", "data: [DONE]\n\n", "stop"]
)
NUMBERS: Final = st.sampled_from([-1, 0, 2**31, 2**63, -(2**64), 10**400, 1e308, float("nan")])
ANY_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NUMBERS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
CALLS: Final = st.lists(
    st.fixed_dictionaries(
        {
            "function": st.fixed_dictionaries(
                {
                    "name": ANY_TEXT,
                    "arguments": st.dictionaries(ANY_TEXT, ANY_JSON, max_size=3) | ANY_JSON,
                }
            )
            | ANY_JSON
        }
    ),
    max_size=3,
)
MESSAGE: Final = st.fixed_dictionaries(
    {"role": st.just("assistant") | ANY_JSON},
    optional={
        "content": ANY_TEXT | ANY_JSON,
        "thinking": ANY_TEXT | ANY_JSON,
        "tool_calls": CALLS | ANY_JSON,
        "images": ANY_JSON,
    },
)
ALMOST: Final = st.fixed_dictionaries(
    {"message": MESSAGE | ANY_JSON},
    optional={
        "model": ANY_JSON,
        "done": st.booleans() | ANY_JSON,
        "done_reason": st.sampled_from(["stop", "length", "load"]) | ANY_JSON,
        "eval_count": st.integers() | NUMBERS | ANY_JSON,
        "prompt_eval_count": st.integers() | NUMBERS | ANY_JSON,
        "total_duration": ANY_JSON,
        "created_at": ANY_JSON,
        "logprobs": ANY_JSON,
        "error": ANY_JSON,
        "extra": ANY_JSON,
    },
)
WORD: Final = st.text(max_size=8).map(lambda text: {"message": {"role": "a", "content": text}})
LAST: Final = st.just({"message": {"role": "a", "content": ""}, "done": True, "eval_count": 1})
NESTED: Final = st.builds(
    lambda depth, opening: b'{"message":{"role":"a"},"error":%s' % (opening * depth),
    st.integers(1, 3000),
    st.sampled_from([b"[", b'{"error":', b'{"message":[']),
)
LINE: Final = (
    (WORD | WORD | LAST | ALMOST | st.fixed_dictionaries({"error": ANY_JSON})).map(
        lambda said: json.dumps(said).encode()
    )
    | ANY_JSON.map(lambda said: json.dumps(said).encode())
    | NESTED
    | st.binary(max_size=30)
    | st.sampled_from(
        [
            b"",
            b"\r",
            b"{}",
            b"null",
            b'{"message":{"role":"a","content":"x"},"message":{"role":"a","content":"y"}}',
            b'{"message":{"role":"a","content":"\xe2\x82"}}',
            b'\xef\xbb\xbf{"message":{"role":"a","content":"bom"}}',
            b'{"message":{"role":"a","content":"x"},"done":1e999}',
            b'{"message":{"role":"a","content":"x"},"eval_count":' + b"9" * 5000 + b"}",
            b'{"error":' + b"9" * 5000 + b"}",
            b'{"error":{"message":{"message":null}}}',
            b"data: [DONE]",
        ]
    )
)


def _in_pieces(body: bytes, places: Sequence[float]) -> list[Raw]:
    """Cut anywhere, in the middle of characters too."""
    cuts = [0, *sorted({round(place * len(body)) for place in places}), len(body)]
    return [Raw(body[a:b]) for a, b in itertools.pairwise(cuts) if a < b]


@st.composite
def replies(draw: st.DrawFn) -> list[HttpStep]:
    """Lines of a chat, mostly wrong ones, and how the connection ends."""
    body = b"\n".join([*draw(st.lists(LINE, max_size=6)), b""])
    if draw(st.booleans()):
        body = body[: draw(st.integers(0, len(body)))]
    steps: list[HttpStep] = [*_in_pieces(body, draw(st.lists(st.floats(0, 1), max_size=4)))]
    ends: list[list[HttpStep]] = [[], [], [Cut()], [Hang()]]
    return [*steps, *draw(st.sampled_from(ends))] or [Raw(b"\n")]


HEADS: Final = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br, x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: a/b; charset=none\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 302 Go\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Go\r\nlocation: http://[\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 307 Go\r\nlocation: \xff://\xff\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 304 Same\r\n\r\n",
        b"HTTP/1.1 404 No\r\ncontent-length: 20\r\n\r\n",
        b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 503 No\r\ncontent-type: text/html; charset=\xff\r\n\r\n",
        b"HTTP/1.1 999 No\r\n\r\n",
        b"HTTP/1.1 20 No\r\n\r\n",
        b"HTTP/1.1 100 Go on\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\r\n\r\n",
        b"",
    ]
)


class Anything(HttpEngine):
    """Answers each request with these bytes, however little they are HTTP."""

    def __init__(self, data: bytes) -> None:
        super().__init__([])
        self._data = data

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self._data)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@st.composite
def listings(draw: st.DrawFn) -> bytes:
    """What could be an answer to every question about models."""
    details = {
        "family": draw(ANY_TEXT),
        "format": draw(ANY_TEXT),
        "parameter_size": draw(ANY_TEXT),
        "quantization_level": draw(st.none() | ANY_JSON),
    }
    name = draw(ANY_TEXT | st.just("x") | st.just("x" * 300))
    at = draw(st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "x", None]))
    length = draw(st.none() | st.integers() | NUMBERS | ANY_JSON)
    digest = draw(st.just("d") | ANY_TEXT)
    model: dict[str, object] = {
        "model": name,
        "digest": digest,
        "details": details,
        "modified_at": at,
    }
    if draw(st.booleans()):
        model["context_length"] = length
    body = {
        "version": draw(st.just("1") | ANY_JSON),
        "models": [model] * draw(st.integers(0, 3)),
        "model_info": {"general.architecture": "x", "x.context_length": length},
        "parameters": draw(st.none() | st.just("num_ctx   99999999999999999999") | ANY_TEXT),
        "capabilities": ["completion", *draw(st.lists(ANY_TEXT, max_size=3))],
        "license": draw(ANY_TEXT),
    }
    return json.dumps(body).encode()


class Endless(HttpEngine):
    """Never ends its answer; ``sent`` is how many bytes were taken of it."""

    def __init__(self, line: bytes, pause: float = 0.0) -> None:
        super().__init__([])
        self._line, self._pause = line, pause
        self.sent = 0
        self.stopped = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n")
                while True:
                    writer.write(self._line)
                    await writer.drain()
                    self.sent += len(self._line)
                    # The pace of the attack itself.
                    await asyncio.sleep(self._pause)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
            self.stopped.set()
