"""Values that break parsers, stores, headers and subjects, at every place that takes one."""

import itertools
import json
import re
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Final, NamedTuple

import pytest
from starlette.types import ASGIApp

from services.api.app import create_app
from shared.contracts import subjects
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.whole_world import Belongings, WholeWorld, belongings_of
from tests.fakes.api.world import app_of
from tests.support.asgi import Answer, ask, http_client

HOST: Final = (b"host", b"localhost")
DOCUMENT: Final[dict[str, Any]] = create_app(quick_settings()).openapi()
OPERATIONS: Final = [
    (method.upper(), path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
WITH_BODY: Final = [(method, path) for method, path, it in OPERATIONS if "requestBody" in it]

REFUSED: Final = {
    "NUL": b'{"x":"a\\u0000b"}',
    "NUL in a name": b'{"a\\u0000b":1}',
    "NUL far below": b'{"x":[{"y":["\\u0000"]}]}',
    "a raw NUL": b'{"x":"a\0b"}',
    "half a character": b'{"x":"\\ud800"}',
    "halves in disorder": b'{"x":"\\udc00\\ud800"}',
    "half a name": b'{"\\udfff":1}',
    "a half in UTF-8": b'{"x":"\xed\xa0\x80"}',
    "no UTF-8": b'{"x":"\xff"}',
    "an endless number": b'{"x":1e999}',
    "NaN": b'{"x":NaN}',
    "Infinity": b'{"x":-Infinity}',
    "a deep list": b'{"x":' + b"[" * 100 + b"]" * 100 + b"}",
    "a deep object": b'{"x":' * 100 + b"1" + b"}" * 100,
    "two objects": b"{}{}",
    "a comment": b"{/**/}",
    "UTF-16": '{"x":1}'.encode("utf-16"),
}
BOMBS: Final = {
    "a very deep list": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an open list": b"[" * 1_000_000,
    "many lists": b'{"x":[' + b"[]," * 60_000 + b"[]]}",
}
NUMBERS: Final = (2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, -1, -(2**63) - 1, 1e308, -0.0)
PATHS: Final = (
    b"%00",
    b"%0d%0aX-Evil:%20yes",
    b"%0aX-Evil:%20yes",
    b"%ed%a0%80",
    b"%ff",
    b"*",
    b"%3e",
    b".",
    b"..",
    b"%2e%2e",
    b"..%2f..%2f",
    b"a%2fb",
    b"a%20b",
    b"a.*.%3e",
    b"%e2%80%a8",
    b"%2500",
    b"$where",
    b"a" * 3000,
)


TITLES: Final = ('a"\r\nX-Evil: yes', "../../etc/passwd", "\u202egpj.exe", '";x="', "é\u2028")
NAMES: Final = ("*", ">", "a.b", "..", "a b", "a/b:c", "é", "a\tb", "$JS.API.>", "", "a" * 900)


TEXTS: Final = {
    "right to left": "\u202egpj.exe\u202c",
    "line ends": "a\r\nX-Evil: yes\u2028\u2029\x85",
    "escapes of a terminal": "\x1b[2J\x07",
    "many marks": "a" + "\u0301" * 200,
    "beyond the first plane": "\U0001f468\u200d\U0001f469\u200d\U0001f467\U0010ffff",
    "no characters": "\ufffe\uffff\ufeff",
    "of a query": "{'$where': 'sleep(9)'}",
    "of a subject": "chat.>.*",
    "of a path": "../../etc/passwd",
    "of a page": "</script><img src=x onerror=1>",
}


class Scene(NamedTuple):
    app: ASGIApp
    things: dict[str, str]

    async def ask(self, method: str, target: bytes, body: bytes = b"", *more: Any) -> Answer:  # noqa: ANN401 - headers
        answer = await ask(self.app, method, target, [HOST, *more], body)
        for name, value in answer.headers:
            assert not re.search(rb"[\r\n\0]", name + value), target
            assert name != b"x-evil", target
        assert answer.status < 500, (method, target, answer)
        return answer

    def path(self, template: str) -> str:
        return template.format(**self.things)


@pytest.fixture
async def scene() -> AsyncGenerator[Scene]:
    world = WholeWorld()
    async with app_of(world, quick_settings()) as app, http_client(app) as http:
        there: Belongings = await belongings_of(http, None)
        things = {**there._asdict(), "model_id": "demo", "key_id": there.preset_id}
        yield Scene(app, things)


async def test_every_body_is_refused_for_the_same_reasons(scene: Scene) -> None:
    for method, path in WITH_BODY:
        for name, body in REFUSED.items():
            answer = await scene.ask(method, scene.path(path).encode(), body)
            assert answer.status == 400, (method, path, name, answer)
            assert json.loads(answer.body)["error"]["code"] == "invalid_request"


async def test_a_bomb_is_refused_at_once(scene: Scene) -> None:
    began = time.process_time()
    for path in (b"/v1/chat/completions", b"/api/chat/sessions/import", b"/api/chat/presets"):
        for body in BOMBS.values():
            assert (await scene.ask("POST", path, body)).status == 400
    assert time.process_time() - began < 5


def _fields(operation: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Names of a body's fields, and whether they are numbers."""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    name = schema["$ref"].rpartition("/")[2]
    for field, described in DOCUMENT["components"]["schemas"][name]["properties"].items():
        yield field, bool(re.search(r'"(integer|number)"', json.dumps(described)))


async def test_no_number_is_too_large_for_what_is_behind(scene: Scene) -> None:
    for method, path, operation in OPERATIONS:
        if "requestBody" not in operation:
            continue
        good = {"title": "x", "name": "x", "message": "x", "model": "demo", "user": "x"}
        for field in (name for name, numeric in _fields(operation) if numeric):
            for number in NUMBERS:
                body = json.dumps({**good, field: number}).encode()
                answer = await scene.ask(method, scene.path(path).encode(), body)
                if number in {2**63, 2**64, 10**30}:
                    assert answer.status == 400, (path, field, number, answer)


def _texts(schema: dict[str, Any]) -> Iterator[str]:
    """Names of fields that take a text."""
    for field, described in schema["properties"].items():
        if '"type": "string"' in json.dumps(described):
            yield field


async def test_no_text_is_too_odd_for_what_is_behind_whatever_field_it_stands_in(
    scene: Scene,
) -> None:
    good: dict[str, Any] = {"title": "x", "name": "x", "message": "x", "model": "demo", "user": "x"}
    tried = set()
    for method, path, operation in OPERATIONS:
        if "requestBody" not in operation:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        for field in _texts(DOCUMENT["components"]["schemas"][name]):
            for text in TEXTS.values():
                body = json.dumps({**good, field: text}, ensure_ascii=False).encode()
                await scene.ask(method, scene.path(path).encode(), body)
                tried.add(field)
            for half in ("\ud800", "a\0b"):
                body = json.dumps({**good, field: half}).encode()
                answer = await scene.ask(method, scene.path(path).encode(), body)
                assert answer.status == 400, (method, path, field)
    assert {"title", "message", "name", "model", "user"} <= tried


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_what_is_kept_is_read_back_as_it_was_said(scene: Scene, text: str) -> None:
    made = await scene.ask("POST", b"/api/chat/sessions", json.dumps({"title": text}).encode())
    session = json.loads(made.body)
    assert session["title"] == text.strip()
    send = f"/api/chat/sessions/{session['id']}/send_message".encode()
    sent = await scene.ask("POST", send, json.dumps({"message": text, "model": "demo"}).encode())
    assert sent.status == 200
    read = await scene.ask("GET", f"/api/chat/sessions/{session['id']}/messages".encode())
    assert json.loads(read.body)["messages"][0]["content"] == text
    assert read.header("content-type") == "application/json"


async def test_no_name_of_a_tool_breaks_out_of_a_header(scene: Scene) -> None:
    for name in (*TEXTS.values(), *NAMES):
        body = {"title": "x", "model": "demo", "tools": [name]}
        made = await scene.ask("POST", b"/api/chat/sessions", json.dumps(body).encode())
        if made.status != 201:
            assert made.status == 400
            continue
        send = f"/api/chat/sessions/{json.loads(made.body)['id']}/send_message".encode()
        sent = await scene.ask("POST", send, b'{"message":"Hi"}')
        assert sent.status == 200, (name, sent)


async def test_a_name_that_comes_twice_is_taken_once(scene: Scene) -> None:
    body = b'{"title":"first","title":"last"}'
    answer = await scene.ask("POST", b"/api/chat/sessions", body)
    assert json.loads(answer.body)["title"] == "last"


async def test_no_time_is_too_late_for_what_is_behind(scene: Scene) -> None:
    for moment, status in (
        ("9999-12-31T23:59:59Z", 201),
        ("9999-12-31T23:59:59-23:59", 400),
        ("9999-12-31T23:59:59.999999-00:01", 400),
        ("0001-01-01T00:00:00+23:59", 400),
    ):
        body = json.dumps({"user": "x", "expiresAt": moment}).encode()
        assert (await scene.ask("POST", b"/api/chat/keys", body)).status == status
        assert (await scene.ask("GET", b"/api/chat/keys")).status == 200


async def test_no_part_of_a_path_breaks_out_of_its_place(scene: Scene) -> None:
    for method, path, _operation in OPERATIONS:
        for name, bad in itertools.product(re.findall(r"{(\w+)}", path), PATHS):
            target = scene.path(path.replace(f"{{{name}}}", "\0")).encode().replace(b"\0", bad)
            answer = await scene.ask(method, target)
            assert answer.status in {400, 404, 405}, (method, target, answer)


async def test_no_parameter_or_header_breaks_anything(scene: Scene) -> None:
    for method, path, operation in OPERATIONS:
        for parameter in operation.get("parameters", ()):
            for bad in PATHS:
                target, name = scene.path(path).encode(), parameter["name"].encode()
                if parameter["in"] == "query":
                    await scene.ask(method, target + b"?" + name + b"=" + bad)
                elif parameter["in"] == "header":
                    await scene.ask(method, target, b"", (name.lower(), bad))


async def test_no_header_of_a_client_breaks_out_of_an_answer(scene: Scene) -> None:
    # As on a wire that would let them through.
    target = scene.path("/api/chat/sessions/{session_id}").encode()
    for name in (b"x-request-id", b"idempotency-key", b"x-stream-resume", b"if-match", b"origin"):
        for value in (b"a\r\nX-Evil: yes", b"a\0b", b"\xff\xfe", b"a" * 9000, b'"\r\n"', b""):
            await scene.ask("PATCH", target, b"{}", (name, value))


@pytest.mark.parametrize("form", ["json", "markdown"])
@pytest.mark.parametrize("title", TITLES)
async def test_a_title_breaks_out_of_no_file_name(scene: Scene, title: str, form: str) -> None:
    made = await scene.ask("POST", b"/api/chat/sessions", json.dumps({"title": title}).encode())
    session = json.loads(made.body)["id"]
    file = await scene.ask("GET", f"/api/chat/sessions/{session}/export?format={form}".encode())
    disposition = file.header("content-disposition") or ""
    plain, encoded = r'filename="[A-Za-z0-9-]+\.(json|md)"', r"filename\*=UTF-8''[A-Za-z0-9._~%-]+"
    assert re.fullmatch(f"attachment; {plain}; {encoded}", disposition)


@pytest.mark.parametrize("name", NAMES)
def test_no_model_reaches_a_subject_unescaped(name: str) -> None:
    for subject, words in ((subjects.workers(name), 3), (subjects.requests(name, "a"), 4)):
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", subject)
        assert len(subject.split(".")) == words
        assert "" not in subject.split(".")


async def test_only_ids_of_the_right_form_are_asked_for(scene: Scene) -> None:
    for bad in (b"chatcmpl-*", b"chatcmpl-" + b"0" * 31 + b"%0a", b"chatcmpl-" + b"A" * 32, b"%3e"):
        for method, rest in (("GET", b""), ("GET", b"?stream=true"), ("POST", b"/cancel")):
            cut = b"/v1/chat/completions/" + bad
            assert (await scene.ask(method, cut + rest)).status == 404
