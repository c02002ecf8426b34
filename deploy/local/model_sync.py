"""``parley models sync``: have every worker list its engine now, and say what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import httpx

from deploy.local.errors import GatewayFailed
from deploy.local.gateway_client import (
    gateway_client,
    json_object,
    printable,
    refuse_errors,
)

_PATH: Final = "/api/chat/models/sync_models/"
# The gateway gives the workers 5 s.
_TIMEOUT: Final = httpx.Timeout(10.0, read=20.0)
_CHANGES: Final = ("added", "removed", "updated")


def sync(
    url: str, api_key: str | None, *, transport: httpx.BaseTransport | None = None
) -> dict[str, Any]:
    """Ask the gateway at ``url``; gives its answer: what has changed, and who failed.

    Raises:
        GatewayFailed: it cannot be reached, refuses, or answers something else.
    """
    with gateway_client(url, api_key, timeout=_TIMEOUT, transport=transport) as client:
        reply = client.post(_PATH)
    refuse_errors(reply)
    body = json_object(reply.content)
    if not {*_CHANGES, "workers", "failed"} <= body.keys():
        sentence = f"what answers at {url} is no gateway of Parley."
        raise GatewayFailed(sentence)
    return body


def lines(body: dict[str, Any]) -> Iterator[str]:
    """What has changed, for people."""
    for change in _CHANGES:
        for name in body[change]:
            yield f"{change:<9}{printable(str(name))}"
    listed = f"{body['workers']} worker{'' if body['workers'] == 1 else 's'} listed"
    changed = any(body[change] for change in _CHANGES)
    yield f"{listed}." if changed else f"{listed}; nothing has changed."


def refuse_failures(body: dict[str, Any]) -> None:
    """Go on where every worker has done it.

    Raises:
        GatewayFailed: one has not, each with a line of details; or there is none.
    """
    failed = body["failed"]
    if failed:
        details = [printable(f"{each.get('worker')}: {each.get('error')}") for each in failed]
        workers = "1 worker" if len(failed) == 1 else f"{len(failed)} workers"
        sentence = f"{workers} could not list all models."
        raise GatewayFailed(sentence, details=details)
    if not body["workers"]:
        raise GatewayFailed("no worker answered; `parley ps` shows what runs.")
