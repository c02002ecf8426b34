"""An advisory fails the check, none passes it, and where nobody knows, that is said."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.advisories.__main__ import main
from deploy.advisories.asking import answer_of

PINS = "good-package==1.0\nbad-package==2.0 ; python_version > '3'\n"
ADVISORY = {
    "id": "GHSA-0000",
    "aliases": ["CVE-2026-1"],
    "summary": "It breaks.",
    "affected": [
        {
            "package": {"name": "bad-package", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
        }
    ],
}
Says = Callable[[dict[str, Any]], tuple[int, bytes]]


class Osv(ThreadingHTTPServer):
    """A server with OSV's API that says what a test wants."""

    daemon_threads = True

    def __init__(self, says: Says) -> None:
        self.asked: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                question = json.loads(self.rfile.read(size))
                server.asked.append(question)
                status, body = says(question)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1/query"


@contextmanager
def osv(says: Says) -> Iterator[Osv]:
    with Osv(says) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def knows(advisory: dict[str, Any]) -> Says:
    def says(question: dict[str, Any]) -> tuple[int, bytes]:
        bad = question["package"]["name"] == "bad-package"
        return 200, json.dumps({"vulns": [advisory]} if bad else {}).encode()

    return says


class Check:
    """``python -m deploy.advisories`` over two pins."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._pins = directory / "constraints.txt"
        self._pins.write_text(PINS)
        self._capsys = capsys

    def __call__(self, url: str, *more: str) -> tuple[int, str]:
        code = main(["--constraints", str(self._pins), "--service", "osv", "--osv-url", url, *more])
        return code, self._capsys.readouterr().out


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    return Check(tmp_path, capsys)


def test_a_known_vulnerability_fails_and_is_named_with_the_version_that_mends_it(
    check: Check,
) -> None:
    with osv(knows(ADVISORY)) as server:
        code, said = check(server.url)
        judged, _ = check(server.url, "--ignore", "GHSA-0000", "--strict")
    assert code == 1
    assert "bad-package 2.0: CVE-2026-1, GHSA-0000; mended in 2.1" in said
    assert "good-package" not in said
    assert judged == 0
    asked = {(each["package"]["name"], each["version"]) for each in server.asked}
    assert asked == {("good-package", "1.0"), ("bad-package", "2.0")}


def test_without_any_it_passes_and_says_how_many_were_asked_about(check: Check) -> None:
    with osv(lambda _question: (200, b"{}")) as server:
        code, said = check(server.url, "--strict")
    assert (code, said) == (0, "No advisory of osv is about any of the 2 pinned packages.\n")


@pytest.mark.parametrize("strict", [False, True])
def test_where_nobody_can_be_reached_that_is_one_line_and_strict_fails(
    check: Check, strict: bool
) -> None:
    code, said = check("http://127.0.0.1:9/v1/query", *(["--strict"] if strict else []))
    assert code == int(strict)
    (line,) = said.splitlines()
    assert line.startswith("ADVISORIES NOT ASKED, so nothing is known of these packages (osv: ")


@pytest.mark.parametrize("answer", [(500, b"{}"), (200, b"<html>"), (200, b'{"vulns": 3}')])
def test_a_service_that_answers_something_else_has_not_been_asked(
    check: Check, answer: tuple[int, bytes]
) -> None:
    with osv(lambda _question: answer) as server:
        code, said = check(server.url, "--strict")
    assert code == 1
    assert said.startswith("ADVISORIES NOT ASKED")


def test_a_service_that_never_answers_is_not_waited_for(check: Check) -> None:
    over = threading.Event()

    def waits(_question: dict[str, Any]) -> tuple[int, bytes]:
        over.wait(60)
        return 500, b""

    with osv(waits) as server:
        try:
            code, said = check(server.url, "--seconds", "3")
        finally:
            over.set()
    assert code == 0
    assert "it did not answer within 3 s" in said


def test_a_report_that_skips_everything_is_no_pass() -> None:
    # pip-audit says "No known vulnerabilities found" and exits with 0 over this one.
    skipped = [{"name": name, "skip_reason": "not found on PyPI"} for name in ("a", "b")]
    answer = answer_of("pypi", json.dumps({"dependencies": skipped, "fixes": []}))
    assert (answer.known, answer.failure) == (0, "it knows none of 2 packages")
    known = {"name": "c", "version": "1", "vulns": []}
    partly = answer_of("pypi", json.dumps({"dependencies": [*skipped, known], "fixes": []}))
    assert (partly.known, partly.unknown, partly.failure) == (1, ["a", "b"], None)


def test_a_version_that_is_not_the_pinned_one_fails_before_anybody_is_asked(
    check: Check,
) -> None:
    code, said = check("http://127.0.0.1:9/", "--installed", "parley")
    assert code == 1
    assert "is installed and not in the constraints." in said
    assert "ADVISORIES" not in said
