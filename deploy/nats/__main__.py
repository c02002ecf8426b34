"""``python -m deploy.nats DIRECTORY``: keys and configuration for a broker of your own."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Final

from deploy.nats.configuration import Configuration
from deploy.nats.keys import Keys
from shared.nkey_seeds import WrongSeed

_EXTRA: Final = "extra.conf"
_YOURS: Final = (
    "# Yours: a tls block, for one. nats-server.conf includes it; it is never written again.\n"
)


def main(arguments: list[str] | None = None) -> int:
    """Write ``nats-server.conf`` and ``keys/*.nk``; keys and ``extra.conf`` that are there stay."""
    asked = _parser().parse_args(arguments)
    directory: Path = asked.directory
    try:
        public_keys = Keys(directory / "keys").ensure()
        configuration = Configuration(
            host=asked.host,
            port=asked.port,
            store=asked.store,
            public_keys=public_keys,
            monitor=asked.monitor,
            max_file=asked.max_file,
            extra=_EXTRA,
        )
        with contextlib.suppress(FileExistsError), (directory / _EXTRA).open("x") as extra:
            extra.write(_YOURS)
        path = directory / "nats-server.conf"
        path.write_text(configuration.text(), encoding="utf-8")
    except WrongSeed as error:
        sys.stderr.write(f"{error}; remove it, and another is made.\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{directory} cannot be written: {error.strerror}.\n")
        return 1
    sys.stdout.write(f"{path}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.nats", description=__doc__)
    parser.add_argument("directory", type=Path, help="where nats-server.conf and keys/ go")
    parser.add_argument("--host", default="127.0.0.1", help="where the broker listens")
    parser.add_argument("--port", type=int, default=4222)
    parser.add_argument("--store", type=Path, default=Path("/data"), help="JetStream's files")
    parser.add_argument("--monitor", metavar="HOST:PORT", help="the monitoring page; loopback only")
    parser.add_argument("--max-file", default="8GB", help="what JetStream's files may take")
    return parser


if __name__ == "__main__":
    sys.exit(main())
