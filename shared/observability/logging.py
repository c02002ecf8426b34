"""One JSON line per event on standard error, from structlog and the standard library alike."""

import logging
import sys
from typing import Final

import structlog

from shared.observability import audit
from shared.observability.tracebacks import hook, without_reprs, without_texts

READY = "parley_ready"
"""The event that a service logs once it can work; the launcher waits for it."""
_OURS: Final = ("services", "shared", "deploy")


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send every log line of this process through one JSON formatter.

    Message text, prompts and keys never belong into an event; ids, sizes and timings do. So of an
    exception only its class and places are written, and ``level`` is for our own loggers: what
    libraries say for debugging are headers, frames and bodies.
    """
    shared_processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_texts,
    ]
    structlog.configure(
        processors=[*shared_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared_processors, without_reprs],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _named(service),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    wanted = logging.getLevelNamesMapping()[level]
    root.setLevel(max(wanted, logging.INFO))
    for package in _OURS:
        logging.getLogger(package).setLevel(wanted)
    audit.unsilence()
    hook()
    # FastStream brings handlers of its own, which write plain text.
    for name in ("faststream", "faststream.access", "faststream.access.nats"):
        foreign = logging.getLogger(name)
        foreign.handlers = []
        foreign.propagate = True
    # One line per HTTP call to the engine every few seconds says nothing that the catalog does not.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("pymongo").setLevel(logging.WARNING)


def _named(service: str) -> structlog.typing.Processor:
    def add(
        _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add
