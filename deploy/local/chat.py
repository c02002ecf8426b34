"""``parley chat``: ask the gateway one thing and show the answer while it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import httpx

from deploy.local.errors import GatewayFailed
from deploy.local.gateway_client import (
    gateway_client,
    json_object,
    message_of,
    printable,
    refuse_errors,
)

_TIMEOUT: Final = httpx.Timeout(10.0, read=120.0)  # between reads; the gateway fills quiet time


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask, and whom."""

    prompt: str
    url: str
    system: str | None = None
    model: str | None = None
    """``None`` takes the first that the gateway lists."""
    api_key: str | None = None


def ask(
    question: Question,
    show: Callable[[str], None],
    *,
    transport: httpx.BaseTransport | None = None,
) -> None:
    """Pass the answer to ``show``, piece by piece.

    Raises:
        GatewayFailed: the gateway cannot be reached, refuses, or the answer breaks off.
    """
    with gateway_client(
        question.url, question.api_key, timeout=_TIMEOUT, transport=transport
    ) as client:
        body = {
            "model": question.model or _first_model(client),
            "messages": _messages(question),
            "stream": True,
        }
        with client.stream("POST", "/v1/chat/completions", json=body) as reply:
            refuse_errors(reply)
            for text in answer(reply.iter_bytes()):
                show(text)


def answer(body: Iterable[bytes]) -> Iterator[str]:
    """Yield the text of a stream of completion chunks, safe to print.

    Raises:
        GatewayFailed: the stream holds an error, or ends without ``[DONE]``.
    """
    for data in _events(body):
        if data == b"[DONE]":
            return
        chunk = json_object(data)
        if "error" in chunk:
            raise GatewayFailed(message_of(chunk) or "the answer ended with an error.")
        for choice in chunk.get("choices") or ():
            if text := (choice.get("delta") or {}).get("content"):
                yield printable(text)
            if choice.get("finish_reason") == "length":
                yield " […]"
    raise GatewayFailed("the answer broke off.")


def _first_model(client: httpx.Client) -> str:
    reply = client.get("/v1/models")
    refuse_errors(reply)
    models = json_object(reply.content).get("data") or ()
    if not models:
        raise GatewayFailed("no worker serves a model now; `parley ps` shows what runs.")
    return str(models[0].get("id"))


def _messages(question: Question) -> list[dict[str, str]]:
    system = [{"role": "system", "content": question.system}] if question.system else []
    return [*system, {"role": "user", "content": question.prompt}]


def _events(body: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each server-sent event; comments are skipped.

    Split at line feeds only: httpx's own ``iter_lines`` also splits at U+2028, which may stand
    unescaped inside JSON.
    """
    rest = b""
    for piece in body:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
