"""``parley api``: one gateway."""

import logging
import socket
import sys
from typing import Final

import structlog

from services.api.app import create_app
from services.api.completions.draining import Drain
from services.api.server import GatewayServer, uvicorn_config
from services.api.settings import Settings
from services.api.world import OpenWorld, nats_world
from shared.observability.logging import configure_logging
from shared.settings import load_or_exit

log = structlog.stdlib.get_logger(__name__)

_CLOSING: Final = 10
"""Seconds that answers which have been cut, and their background work, get to end."""


def main(open_world: OpenWorld = nats_world) -> None:
    """Serve until a signal; exit code 0 then, 1 for a start that failed, 2 for a wrong setting."""
    settings = load_or_exit(Settings)
    configure_logging("api", settings.api.log_level)
    send_timeout = settings.api.send_timeout.total_seconds()
    listener = listen(settings.api.host, settings.api.port, send_timeout=send_timeout)
    drain = Drain()
    # Below that it logs the address of each WebSocket, with the token in it.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    app = create_app(settings, drain=drain, open_world=open_world)
    config = uvicorn_config(app, settings, listener.getsockname()[1], closing=_CLOSING)
    patience = settings.api.drain_timeout.total_seconds()
    server = GatewayServer(config, drain, patience=patience)
    try:
        server.run(sockets=[listener])
    except SystemExit as error:
        # uvicorn's own code for a start that failed is 3.
        raise SystemExit(1) from error


def listen(host: str, port: int, *, send_timeout: float) -> socket.socket:
    """A bound socket; connections that take no byte for ``send_timeout`` seconds are dropped."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform == "linux":
        # A closed transport still keeps what it has not sent, for a client that reads nothing as
        # for one that reads: only the kernel can tell them apart. Connections inherit this.
        milliseconds = int(send_timeout * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    try:
        listener.bind((host, port))
    except OSError as error:
        sys.stderr.write(
            f"API_PORT: cannot listen on {host}:{port}: {error.strerror or error}. "
            "Stop what uses it, or choose another port.\n"
        )
        raise SystemExit(1) from error
    listener.set_inheritable(True)
    return listener


if __name__ == "__main__":
    main()
