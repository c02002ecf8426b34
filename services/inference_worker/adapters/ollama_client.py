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


class _Version(BaseModel):
    version: str = ""


class OllamaClient(ollama.AsyncClient):
    """``ollama.AsyncClient``, for chat bodies that its own ``chat()`` cannot express.

    ``chat()`` of ollama 0.6 has no ``truncate`` (without which Ollama silently drops the front of
    a prompt that is too long) and forces tools through a model that loses parts of their JSON
    schema. So the body is ours. So are the lines: its own end at U+0085 and U+2028 too, which JSON
    may hold as they are, and have no bound.
    """

    async def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[ollama.ChatResponse]:
        """``POST /api/chat``; the lines as they come. Closing the generator ends the connection.

        Raises:
            ollama.ResponseError: an error status, or an error line in the middle.
            httpx.TransportError: no connection, or one that broke.
            ValueError: a line that is no JSON of this shape, or too long.
        """
        async with self._client.stream("POST", "/api/chat", json=body) as response:
            if response.is_error:
                raise _refusal(await _beginning(response), response.status_code)
            pieces = _Lines()
            async for data in response.aiter_bytes():
                for line in pieces.add(data):
                    yield _parsed(line)
            for line in pieces.add(b"\n"):
                yield _parsed(line)

    async def version(self) -> str:
        """``GET /api/version``."""
        return (await self._request(_Version, "GET", "/api/version")).version

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


async def _beginning(response: httpx.Response) -> str:
    body = b""
    async for data in response.aiter_bytes():
        body += data
        if len(body) > _LONGEST_ERROR:
            break
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
