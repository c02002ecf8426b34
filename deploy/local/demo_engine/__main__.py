"""``python -m deploy.local.demo_engine --host 127.0.0.1 --port 11435``."""

import argparse
import asyncio
import logging
import signal
import sys

from deploy.local.demo_engine.chat import Defaults
from deploy.local.demo_engine.http_server import HttpServer
from deploy.local.demo_engine.routes import build_handler


def read_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="demo_engine", description="Speaks Ollama's HTTP API, without a language model."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11435, help="0 lets the system choose")
    parser.add_argument("--tokens-per-second", type=float, default=40.0, help="0: no limit")
    parser.add_argument("--first-token-ms", type=float, default=100.0)
    parser.add_argument("--parallel", type=int, default=4, help="requests that run at once")
    parser.add_argument("--max-queue", type=int, default=512, help="requests that may wait")
    found = parser.parse_args(arguments)
    if (
        found.parallel < 1
        or min(found.max_queue, found.tokens_per_second, found.first_token_ms) < 0
    ):
        parser.error("--parallel must be at least 1, the others at least 0")
    return found


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    defaults = Defaults(arguments.tokens_per_second, arguments.first_token_ms)
    server = HttpServer(build_handler(defaults, arguments.parallel, arguments.max_queue))
    port = await server.start(arguments.host, arguments.port)
    sys.stdout.write(f"demo engine on http://{arguments.host}:{port}\n")
    sys.stdout.flush()
    await stopped.wait()
    server.stop()


def main() -> None:
    """Start the engine."""
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(read_arguments()))


if __name__ == "__main__":
    main()
