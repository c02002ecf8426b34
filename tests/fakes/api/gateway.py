"""A gateway on a real port, in the test's own event loop."""

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import Self

import httpx

from services.api.__main__ import listen
from services.api.completions.draining import Drain
from services.api.http_settings import HttpSettings
from services.api.llm_settings import LlmSettings
from services.api.oidc_settings import OidcSettings
from services.api.server import GatewayServer, uvicorn_config
from services.api.settings import ApiSettings, Settings
from services.api.world import OpenWorld, nats_world
from shared.contracts.identities import Identity
from shared.settings import DeadlineSettings, NatsSettings
from tests.fakes.api.application import Application
from tests.support.limits import NO_LIMITS
from tests.support.nats_keys import seed_file
from tests.support.waiting import eventually


def quick_settings(url: str = "nats://127.0.0.1:1", **api: object) -> Settings:
    """Settings with the patience of a test."""
    deadlines = {
        name: api.pop(name) for name in ("waiting_deadline", "generating_deadline") if name in api
    }
    llm = api.pop("llm", LlmSettings())
    assert isinstance(llm, LlmSettings)
    http = {name: api.pop(name) for name in HttpSettings.model_fields if name in api}
    oidc = api.pop("oidc", OidcSettings())
    assert isinstance(oidc, OidcSettings)
    defaults: dict[str, object] = {
        "silence": timedelta(milliseconds=500),
        "header_hold": timedelta(seconds=5),
        "startup_timeout": timedelta(seconds=5),
        "cancel_patience": timedelta(seconds=5),
        "drain_timeout": timedelta(seconds=5),
        **NO_LIMITS,
    }
    return Settings(
        api=ApiSettings.model_validate({**defaults, **api}),
        nats=NatsSettings(
            url=url,
            nkey_seed_file=seed_file(Identity.GATEWAY),
            request_timeout=timedelta(seconds=1),
        ),
        deadlines=DeadlineSettings.model_validate(deadlines),
        llm=llm,
        oidc=oidc,
        http=HttpSettings.model_validate(http),
    )


class RunningGateway:
    """``async with RunningGateway(settings) as gateway: gateway.http.get("/v1/models")``."""

    def __init__(self, settings: Settings, *, open_world: OpenWorld = nats_world) -> None:
        self.drain = Drain()
        self._settings = settings
        self.app = Application(settings, self.drain, open_world)
        patience = settings.api.send_timeout.total_seconds()
        self._listener = listen("127.0.0.1", 0, send_timeout=patience)
        self._task: asyncio.Task[None] | None = None
        self.http = httpx.AsyncClient()
        self.url = ""

    async def __aenter__(self) -> Self:
        port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        config = uvicorn_config(self.app, self._settings, port, closing=2)
        patience = self._settings.api.drain_timeout.total_seconds()
        self.server = GatewayServer(config, self.drain, patience=patience)
        self._task = asyncio.create_task(self.server.serve(sockets=[self._listener]))
        await eventually(lambda: self.server.started)
        self.http = httpx.AsyncClient(base_url=self.url, timeout=20)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.aclose()
        assert self._task is not None
        self.server.should_exit = True
        await asyncio.wait_for(self._task, 20)

    async def stopped(self) -> None:
        """Return once it has stopped by itself."""
        assert self._task is not None
        await asyncio.wait_for(asyncio.shield(self._task), 20)
