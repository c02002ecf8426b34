"""``parley chat``: ask the gateway one thing and show the answer while it comes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from deploy.local.errors import ChatFailed

_TIMEOUT: Final = httpx.Timeout(10.0, read=120.0)  # between reads; the gateway fills quiet time
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# A model's text must not steer the terminal: no escape sequences, no carriage returns.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


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
        ChatFailed: the gateway cannot be reached, refuses, or the answer breaks off.
    """
    headers = {"Authorization": f"Bearer {question.api_key}"} if question.api_key else {}
    # The environment's proxies are for other machines.
    outside = urlsplit(question.url).hostname not in _LOOPBACK_NAMES
    try:
        with httpx.Client(
            base_url=question.url,
            headers=headers,
            timeout=_TIMEOUT,
            trust_env=outside,
            transport=transport,
        ) as client:
            body = {
                "model": question.model or _first_model(client),
                "messages": _messages(question),
                "stream": True,
            }
            with client.stream("POST", "/v1/chat/completions", json=body) as reply:
                _refuse_errors(reply)
                for text in answer(reply.iter_bytes()):
                    show(text)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        sentence = f"{question.url} is no address of a gateway."
        raise ChatFailed(sentence) from error
    except httpx.ConnectError as error:
        sentence = f"nothing answers at {question.url}; `make run` or `parley up` starts Parley."
        raise ChatFailed(sentence) from error
    except httpx.TimeoutException as error:
        raise ChatFailed("the gateway did not answer in time.") from error
    except httpx.HTTPError as error:
        raise ChatFailed("the connection to the gateway broke.") from error


def answer(body: Iterable[bytes]) -> Iterator[str]:
    """Yield the text of a stream of completion chunks, safe to print.

    Raises:
        ChatFailed: the stream holds an error, or ends without ``[DONE]``.
    """
    for data in _events(body):
        if data == b"[DONE]":
            return
        chunk = _object(data)
        if "error" in chunk:
            raise ChatFailed(_message(chunk) or "the answer ended with an error.")
        for choice in chunk.get("choices") or ():
            if text := (choice.get("delta") or {}).get("content"):
                yield _CONTROL.sub("", text)
            if choice.get("finish_reason") == "length":
                yield " […]"
    raise ChatFailed("the answer broke off.")


def _first_model(client: httpx.Client) -> str:
    reply = client.get("/v1/models")
    _refuse_errors(reply)
    models = _object(reply.content).get("data") or ()
    if not models:
        raise ChatFailed("no worker serves a model now; `parley ps` shows what runs.")
    return str(models[0].get("id"))


def _messages(question: Question) -> list[dict[str, str]]:
    system = [{"role": "system", "content": question.system}] if question.system else []
    return [*system, {"role": "user", "content": question.prompt}]


def _refuse_errors(reply: httpx.Response) -> None:
    if reply.is_success:
        return
    said = _message(_object(reply.read()))
    raise ChatFailed(said or f"the gateway answered {reply.status_code}.")


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


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _message(body: dict[str, Any]) -> str | None:
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return _CONTROL.sub("", str(message)) if message else None
