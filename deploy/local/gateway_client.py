"""How the commands talk to a gateway; every failure is one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from deploy.local.errors import GatewayFailed

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# Text from elsewhere must not steer the terminal: no escape sequences, no carriage returns.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@contextmanager
def gateway_client(
    url: str,
    api_key: str | None,
    *,
    timeout: httpx.Timeout,
    transport: httpx.BaseTransport | None = None,
) -> Iterator[httpx.Client]:
    """A client of the gateway at ``url``.

    Raises:
        GatewayFailed: from within the block: it cannot be reached, or does not answer.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        # The environment's proxies are for other machines.
        outside = urlsplit(url).hostname not in _LOOPBACK_NAMES
        with httpx.Client(
            base_url=url, headers=headers, timeout=timeout, trust_env=outside, transport=transport
        ) as client:
            yield client
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        sentence = f"{url} is no address of a gateway."
        raise GatewayFailed(sentence) from error
    except httpx.ConnectError as error:
        sentence = f"nothing answers at {url}; `make run` or `parley up` starts Parley."
        raise GatewayFailed(sentence) from error
    except httpx.TimeoutException as error:
        raise GatewayFailed("the gateway did not answer in time.") from error
    except httpx.HTTPError as error:
        raise GatewayFailed("the connection to the gateway broke.") from error


def refuse_errors(reply: httpx.Response) -> None:
    """Go on with a success only.

    Raises:
        GatewayFailed: it is none; with the gateway's own sentence if it has one.
    """
    if reply.is_success:
        return
    said = message_of(json_object(reply.read()))
    if reply.status_code == httpx.codes.UNAUTHORIZED:
        sentence = f"{said or 'The gateway asks for an API key.'} PARLEY_API_KEY names it here."
        raise GatewayFailed(sentence)
    raise GatewayFailed(said or f"the gateway answered {reply.status_code}.")


def json_object(data: bytes) -> dict[str, Any]:
    """The object; empty if ``data`` is none."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def message_of(body: dict[str, Any]) -> str | None:
    """The sentence of an error body, safe to print."""
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return printable(str(message)) if message else None


def printable(text: str) -> str:
    """The text without what steers a terminal."""
    return _CONTROL.sub("", text)
