"""The official Ollama client with what it lacks: a bound on connecting, none on connections."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import httpx
import ollama
from pydantic import BaseModel

_KEPT_ALIVE: Final = 32
_LONGEST_LINE: Final = 16 * 2**20
"""Bytes; an answer has 1 MiB of text at most, and JSON can make six bytes of one."""
_LONGEST_ERROR: Final = 64 * 2**10
_LONGEST_ANSWER: Final = 16 * 2**20
"""Bytes of what is said of models: all of an engine's, with templates and licences."""
_PLAIN: Final = {"Accept-Encoding": "identity"}
"""What is compressed has no bound until it is unpacked: a thousand times its size."""


class _Version(BaseModel):
    version: str = ""


class OllamaClient(ollama.AsyncClient):
    """``ollama.AsyncClient``, for chat bodies that its own ``chat()`` cannot express.

    ``chat()`` of ollama 0.6 has no ``truncate`` (without which Ollama silently drops the front of
    a prompt that is too long) and forces tools through a model that loses parts of their JSON
    schema. So the body is ours. So are the lines: its own end at U+0085 and U+2028 too, which JSON
    may hold as they are, and have no bound. Nor have its other answers.
    """

    async def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[ollama.ChatResponse]:
        """``POST /api/chat``; the lines as they come. Closing the generator ends the connection.

        Raises:
            ollama.ResponseError: an error status, or an error line in the middle.
            httpx.TransportError: no connection, or one that broke.
            ValueError: a line that is no JSON of this shape, or too long; a compressed body.
        """
        async with self._client.stream("POST", "/api/chat", json=body, headers=_PLAIN) as response:
            if not response.is_success:
                raise _refusal(_text(await _beginning(response)), response.status_code)
            pieces = _Lines()
            async for data in _as_it_is(response):
                for line in pieces.add(data):
                    yield _parsed(line)
            for line in pieces.add(b"\n"):
                yield _parsed(line)

    async def version(self) -> str:
        """``GET /api/version``."""
        return (await self._request(_Version, "GET", "/api/version")).version

    async def _request_raw(self, method: str, path: str, **body: Any) -> httpx.Response:  # noqa: ANN401 - as its own
        """What all other questions of the official client go through: its own has no bound."""
        async with self._client.stream(method, path, headers=_PLAIN, **body) as response:
            if not response.is_success:
                raise _refusal(_text(await _beginning(response)), response.status_code)
            answer = await _beginning(response, _LONGEST_ANSWER)
        if len(answer) > _LONGEST_ANSWER:
            message = f"an answer has more than {_LONGEST_ANSWER} bytes"
            raise ValueError(message)
        return httpx.Response(response.status_code, content=answer)

    async def aclose(self) -> None:
        """Close what is kept alive."""
        await self._client.aclose()


class _Lines:
    """Cuts a body into its lines, without blank ones."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> list[bytes]:
        """Take what was read; gives the lines that are whole now.

        Raises:
            ValueError: a line does not come to its end.
        """
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            lines.append(b"".join((*self._begun, end)))
            self._begun, self._size = [], 0
        self._begun.append(rest)
        self._size += len(rest)
        if self._size > _LONGEST_LINE:
            message = f"a line has more than {_LONGEST_LINE} bytes"
            raise ValueError(message)
        return [line for line in lines if not line.isspace() and line]


def _parsed(line: bytes) -> ollama.ChatResponse:
    text = line.decode(errors="replace")
    if '"error"' in text:
        said = json.loads(text)
        if isinstance(said, dict) and said.get("error"):
            raise _refusal(text, -1)
    return ollama.ChatResponse.model_validate_json(text)


def _refusal(text: str, status: int) -> ollama.ResponseError:
    try:
        return ollama.ResponseError(text, status)
    except (AttributeError, RecursionError):
        # It takes all JSON for an object.
        return ollama.ResponseError("", status)


async def _as_it_is(response: httpx.Response) -> AsyncGenerator[bytes]:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ValueError("the body is compressed, which was not asked for")
    async for data in response.aiter_bytes():
        yield data


async def _beginning(response: httpx.Response, most: int = _LONGEST_ERROR) -> bytes:
    """At most one read more than ``most``."""
    parts, size = [], 0
    async for data in _as_it_is(response):
        parts.append(data)
        size += len(data)
        if size > most:
            break
    return b"".join(parts)


def _text(body: bytes) -> str:
    return body[:_LONGEST_ERROR].decode(errors="replace")


def build_client(url: str, *, connect_timeout: float, api_key: str | None = None) -> OllamaClient:
    """A client for one engine; nothing connects yet.

    The official defaults are a pool of 100 connections, where stream 101 waits for ever, and no
    time-out at all. Reads have none here either: the quiet times are bounded where they are
    understood, in ``OllamaEngine``.

    Args:
        url: The engine's address.
        connect_timeout: Seconds for connecting and for sending.
        api_key: A bearer token, for engines behind a proxy that asks for one.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
    return OllamaClient(
        host=url,
        headers=headers,
        timeout=httpx.Timeout(connect_timeout, read=None, pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_ALIVE),
        # The engine is next door: a proxy for the web would only be in the way.
        trust_env=False,
    )
