"""Which language-model engine answers: the user's Ollama, or the demo engine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from deploy.local.addresses import LOOPBACK
from deploy.local.spec import ChildSpec, HttpOk

DEFAULT_URL: Final = "http://127.0.0.1:11434"
_PATIENCE: Final = 1.0
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines to use; none means the demo engine."""

    urls: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    """Those of ``urls`` that do not answer yet."""


async def find_engines(
    urls: Sequence[str], api_key: SecretStr | None = None, *, default: str = DEFAULT_URL
) -> Engines:
    """Look for engines.

    What the user named is used even while it is silent, since workers wait for their engine;
    a silent default is no engine.
    """
    asked = tuple(urls) or (default,)
    answers = await asyncio.gather(*(_answers(url, api_key) for url in asked))
    silent = tuple(url for url, answer in zip(asked, answers, strict=True) if not answer)
    if not urls and silent:
        return Engines()
    return Engines(urls=asked, silent=silent)


def demo_engine(
    port: int,
    *,
    parallel: int,
    env: Mapping[str, str],
    ready_timeout: timedelta,
    grace: timedelta,
) -> ChildSpec:
    """The spec of the demo engine, which speaks Ollama's HTTP API without a model.

    Args:
        port: Where it listens.
        parallel: How many answers it makes at once: the slots of all workers together.
        env: Its environment.
        ready_timeout: How long its start may take.
        grace: How long its end may take.
    """
    url = f"http://{LOOPBACK}:{port}"
    return ChildSpec(
        name="engine",
        argv=(
            *(sys.executable, "-P", "-m", "deploy.local.demo_engine"),
            *("--host", LOOPBACK, "--port", str(port), "--parallel", str(parallel)),
        ),
        env=env,
        url=url,
        readiness=HttpOk(f"{url}/api/version"),
        ready_timeout=ready_timeout,
        grace=grace,
    )


async def _answers(url: str, api_key: SecretStr | None) -> bool:
    headers = {"Authorization": f"Bearer {api_key.get_secret_value()}"} if api_key else {}
    # The environment's proxies are for other machines.
    outside = urlsplit(url).hostname not in _LOOPBACK_NAMES
    try:
        async with (
            asyncio.timeout(_PATIENCE),
            httpx.AsyncClient(headers=headers, trust_env=outside) as client,
        ):
            reply = await client.get(f"{url}/api/version")
            return reply.status_code == httpx.codes.OK and "version" in reply.json()
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, TypeError):
        return False
