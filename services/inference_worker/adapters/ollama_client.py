"""The official Ollama client with what it lacks: a bound on connecting, none on connections."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

import httpx
import ollama
from pydantic import BaseModel

_KEPT_ALIVE = 32


class _Version(BaseModel):
    version: str = ""


class OllamaClient(ollama.AsyncClient):
    """``ollama.AsyncClient``, for chat bodies that its own ``chat()`` cannot express.

    ``chat()`` of ollama 0.6 has no ``truncate`` (without which Ollama silently drops the front of
    a prompt that is too long) and forces tools through a model that loses parts of their JSON
    schema. So the body is ours, and the client's own ``_request`` sends it and reads the lines.
    """

    async def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[ollama.ChatResponse]:
        """``POST /api/chat``; the lines as they come. Closing the generator ends the connection.

        Raises:
            ollama.ResponseError: an error status, or an error line in the middle.
            httpx.TransportError: no connection, or one that broke.
            ValueError: a line that is no JSON of this shape.
        """
        lines = await self._request(
            ollama.ChatResponse, "POST", "/api/chat", json=body, stream=True
        )
        return cast("AsyncGenerator[ollama.ChatResponse]", lines)

    async def version(self) -> str:
        """``GET /api/version``."""
        return (await self._request(_Version, "GET", "/api/version")).version

    async def aclose(self) -> None:
        """Close what is kept alive."""
        await self._client.aclose()


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
