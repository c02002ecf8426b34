"""Where something failed, without what was said: the text of an exception may quote anything.

pydantic quotes the input, the database's driver the document, ``int`` the word that is no number,
httpx what came instead of HTTP. A line has classes, places and what is known to be safe.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Final

import structlog
from structlog.typing import EventDict, WrappedLogger

from shared.errors import ChatError

_DEEPEST: Final = 20
"""Frames from the end of each traceback, and exceptions of a chain or a group."""
_ASYNCIO: Final = "asyncio"
_TASK: Final = re.compile(r"name='([\w.:/-]{1,80})'")


def without_texts(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Instead of structlog's ``format_exc_info``: ``exception`` is one string of several lines."""
    raised = _raised(event.pop("exc_info", None))
    if raised is not None:
        event["exception"] = "\n".join(_lines(raised, _DEEPEST))
    return event


def without_reprs(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Of what asyncio quotes, exceptions and arguments: say what has failed, and no more."""
    record = event.get("_record")
    if isinstance(record, logging.LogRecord) and record.name == _ASYNCIO:
        said = str(event["event"])
        task = _TASK.search(said)
        event["event"] = said.partition("\n")[0].partition("(")[0]
        if task is not None:
            event["task"] = task[1]
    return event


def hook() -> None:
    """Let what nobody has caught be a log line of a process, and of a thread, too."""
    log = structlog.stdlib.get_logger(__name__)

    def of_process(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        log.critical("process_failed", exc_info=(kind, error, trace))

    def of_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None:
            raised = (failed.exc_type, failed.exc_value, failed.exc_traceback)
            log.critical("thread_failed", exc_info=raised)

    sys.excepthook = of_process
    threading.excepthook = of_thread


def _raised(value: object) -> BaseException | None:
    if isinstance(value, BaseException):
        return value
    if isinstance(value, tuple):
        found = value[1]
        return found if isinstance(found, BaseException) else None
    return sys.exc_info()[1] if value else None


def _lines(error: BaseException, left: int) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and left:
        yield from _lines(before, left - 1)
        yield "which led to" if error.__cause__ else "and then"
    for frame in traceback.extract_tb(error.__traceback__)[-_DEEPEST:]:
        yield f"{frame.filename}:{frame.lineno} in {frame.name}"
    yield _named(error)
    if isinstance(error, BaseExceptionGroup) and left:
        for each in error.exceptions[:_DEEPEST]:
            yield from (f"  {line}" for line in _lines(each, left - 1))


def _named(error: BaseException) -> str:
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if isinstance(error, ChatError):
        return f"{name}: {error.code}"
    if isinstance(error, OSError) and error.strerror:
        # The system's own words; without the name of a file or a host.
        return f"{name}: {error.strerror}"
    code = getattr(error, "code", None)
    return f"{name}: {code}" if isinstance(code, int) else name
