"""What a process writes down of a failure: where and what kind, never what was said."""

import json
import subprocess
import sys
from typing import Any

import pytest

SECRET = "tangerine"
START = """
import asyncio, gc, logging, threading, sys, warnings
import orjson, pydantic, structlog
from shared.contracts.events import CompletionAccepted
from shared.errors import EngineError
from shared.observability.logging import configure_logging
configure_logging("test", "DEBUG")
log = structlog.stdlib.get_logger("services.test")
def fail():
    raise ValueError("the text tangerine")
SECRET_TEXT = "tangerine"
def fail_with(text):
    raise ValueError(text)
"""
CAUGHT = {
    "a word that is no number": "int('tangerine')",
    "a key": "{}['tangerine']",
    "an argument": "(lambda: None)(**{'tangerine': 1})",
    "a wire message": 'CompletionAccepted.from_bytes(b\'{\\"text\\":\\"tangerine\\"}\')',
    "what is no JSON": "CompletionAccepted.from_bytes(b'tangerine tangerine')",
    "half a character": "'tangerine \\ud800'.encode()",
    "an error of the house": "(_ for _ in ()).throw(EngineError('tangerine'))",
    "a missing file": "open('/tangerine')",
    "a group": "(_ for _ in ()).throw(ExceptionGroup('tangerine', [ValueError('tangerine')]))",
}


SCRIPT = (
    START
    + "".join(
        f"\ntry:\n    {statement}\nexcept Exception:\n    log.exception({name!r})\n"
        for name, statement in CAUGHT.items()
    )
    + """
try:
    try:
        fail()
    except ValueError as error:
        raise RuntimeError("tangerine again") from error
except RuntimeError:
    log.exception("both")

try:
    fail()
except ValueError:
    logging.getLogger("uvicorn.error").error("of a library", exc_info=True)

async def main():
    async def work():
        fail()
    task = asyncio.create_task(work(), name="the-task")
    await asyncio.wait({task})
    del task
    gc.collect()
    asyncio.get_running_loop().call_soon(fail_with, SECRET_TEXT)
    await asyncio.sleep(0)
asyncio.run(main())

thread = threading.Thread(target=fail)
thread.start()
thread.join()

def deeper(n):
    try:
        raise ValueError("tangerine") if n == 0 else deeper(n - 1)
    except ValueError:
        raise KeyError("tangerine")
try:
    deeper(200)
except KeyError:
    log.exception("deep")

log.debug("ours")
for name in ("websockets.server", "uvicorn.error", "httpcore.http11", "pymongo.command", "nats"):
    logging.getLogger(name).debug("< TEXT tangerine")
fail()
"""
)


@pytest.fixture(scope="module")
def lines() -> dict[str, dict[str, Any]]:
    """The lines of one process that has all these failures, by their events."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert SECRET not in done.stderr
    written = [json.loads(line) for line in done.stderr.splitlines()]
    assert len({line["event"] for line in written}) == len(written)
    return {line["event"]: line for line in written}


Lines = dict[str, dict[str, Any]]


@pytest.mark.parametrize("name", CAUGHT)
def test_a_failure_is_logged_with_its_place(lines: Lines, name: str) -> None:
    assert "<string>:" in lines[name]["exception"]


def test_a_failure_is_logged_with_its_class_and_what_is_known_to_be_safe(lines: Lines) -> None:
    kinds = {name: lines[name]["exception"].splitlines()[-1].strip() for name in CAUGHT}
    assert kinds["a key"] == "KeyError"
    assert kinds["an error of the house"] == "shared.errors.EngineError: engine_error"
    assert kinds["a missing file"] == "FileNotFoundError: No such file or directory"
    assert kinds["a group"] == "ValueError"


def test_what_led_to_a_failure_is_there_too(lines: Lines) -> None:
    *first, then, _place, last = lines["both"]["exception"].splitlines()
    assert first[-1] == "ValueError"
    assert first[-2].endswith("in fail")
    assert (then, last) == ("which led to", "RuntimeError")


def test_libraries_that_log_a_failure_say_no_more(lines: Lines) -> None:
    line = lines["of a library"]
    assert line["exception"].endswith("ValueError")
    assert line["logger"] == "uvicorn.error"


def test_a_task_that_failed_and_nobody_looked_at_is_named(lines: Lines) -> None:
    line = lines["Task exception was never retrieved"]
    assert line["task"] == "the-task"
    assert line["exception"].endswith("ValueError")


def test_a_callback_that_failed_is_named_without_its_arguments(lines: Lines) -> None:
    line = lines["Exception in callback fail_with"]
    assert line["exception"].endswith("ValueError")


def test_a_process_or_a_thread_that_dies_says_so_in_one_line(lines: Lines) -> None:
    for event in ("process_failed", "thread_failed"):
        assert lines[event]["level"] == "critical"
        assert lines[event]["exception"].endswith("ValueError")


def test_a_failure_that_goes_on_and_on_has_a_bounded_line(lines: Lines) -> None:
    assert len(lines["deep"]["exception"]) < 100_000


def test_debugging_is_for_our_own_loggers(lines: Lines) -> None:
    assert lines["ours"]["level"] == "debug"
    assert [line["event"] for line in lines.values() if line["level"] == "debug"] == ["ours"]
