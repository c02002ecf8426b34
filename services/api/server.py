"""uvicorn, stopping in order: refuse, let running answers finish, then close."""

import asyncio
import contextlib
import logging
import socket
from types import FrameType

import structlog
import uvicorn
from starlette.types import ASGIApp

from services.api.completions.draining import Drain
from services.api.handshake import GatewaySocketProtocol
from services.api.protocol import GatewayProtocol
from services.api.settings import Settings
from shared.observability.logging import READY

log = structlog.stdlib.get_logger(__name__)


def uvicorn_config(app: ASGIApp, settings: Settings, port: int, *, closing: int) -> uvicorn.Config:
    """How a gateway is served.

    Args:
        app: The gateway.
        settings: Its limits and its patience.
        port: The one that it listens on.
        closing: Seconds that answers which have been cut, and their background work, get to end.
    """
    body_timeout = settings.api.body_timeout.total_seconds()
    return uvicorn.Config(
        app,
        host=settings.api.host,
        port=port,
        http=GatewayProtocol.configured(settings.http, body_timeout=body_timeout),
        loop="uvloop",
        ws=GatewaySocketProtocol,
        ws_max_size=settings.api.socket_message_bytes,
        ws_ping_interval=settings.http.socket_ping_interval.total_seconds(),
        ws_ping_timeout=settings.http.socket_ping_timeout.total_seconds(),
        log_config=None,
        access_log=False,
        server_header=False,
        # uvicorn would believe X-Forwarded-For of everybody on this machine: ``access`` decides.
        proxy_headers=False,
        timeout_graceful_shutdown=closing,
        timeout_keep_alive=round(settings.http.keep_alive.total_seconds()),
    )


class GatewayServer(uvicorn.Server):
    """Keeps its sockets open while it drains, so that ``/readyz`` can say so."""

    def __init__(self, config: uvicorn.Config, drain: Drain, *, patience: float) -> None:
        """A server over ``config``.

        Args:
            config: uvicorn's own.
            drain: Told when a signal arrives.
            patience: Seconds that running answers get.
        """
        super().__init__(config)
        self._drain = drain
        self._patience = patience
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: end what runs, and stop."""
        if self._loop is None or not self.started:
            self.should_exit = True
            return
        if self._drain.begun:
            self._loop.call_soon_threadsafe(self._drain.cut_short)
            self.should_exit = True
            return
        # Not recorded as uvicorn does: it would raise the signal again after a clean end.
        log.info("signal_received", signal=sig, interrupted=frame is not None)
        self._loop.call_soon_threadsafe(self._drain.begin)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal, then drain and stop."""
        self._loop = asyncio.get_running_loop()
        draining = asyncio.create_task(self._stop_when_drained(), name="drain")
        try:
            await super().serve(sockets)
        finally:
            draining.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await draining

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so; a start that fails has said why by itself, in a sentence."""
        # uvicorn would print the traceback of the lifespan, twice.
        chatty = logging.getLogger("uvicorn.error")
        chatty.disabled = True
        try:
            await super().startup(sockets)
        finally:
            chatty.disabled = False
        if self.started:
            log.info(READY, port=self.config.port)

    async def _stop_when_drained(self) -> None:
        await self._drain.finish(self._patience)
        log.info("drained", cut=self._drain.cut)
        self.should_exit = True
