"""``docs/asyncapi.json`` is what the generator makes, is whole, and is AsyncAPI 3.0."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from deploy.asyncapi.document import build, text
from deploy.asyncapi.nats_channels import nats_channels, questions
from deploy.asyncapi.raw import BODIES, HEAD
from deploy.asyncapi.sockets import Said, socket_channel, socket_channels
from shared.contracts import subjects
from shared.contracts.frames import HEAD_SIZE, Frame, FrameKind

ROOT = Path(__file__).parents[2]
NODE = ROOT / "tests/e2e/node"
COMMITTED = ROOT / "docs/asyncapi.json"
DOCUMENT: dict[str, Any] = json.loads(text())
PATTERNS = sorted(
    value for value in vars(subjects).values() if isinstance(value, str) and "chat." in value[:5]
)


def test_the_committed_document_is_what_the_generator_makes() -> None:
    assert COMMITTED.read_text() == text(), "python -m deploy.asyncapi > docs/asyncapi.json"


def covered(pattern: str) -> bool:
    """Whether some address is of this pattern, or one of those that it stands for."""
    named = {
        re.sub(r"{\w+}", "*", channel["address"])
        for channel in DOCUMENT["channels"].values()
        if channel["address"] is not None
    }
    fits = re.compile(re.escape(pattern).replace(r"\*", r"[^.]+"))
    return any(address == pattern or fits.fullmatch(address) for address in named)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_subject_is_a_channel(pattern: str) -> None:
    assert len(PATTERNS) >= 12
    assert covered(pattern)
    assert not covered(f"{pattern}.more")


def test_every_question_is_a_channel_with_its_reply() -> None:
    sources = (path.read_text() for path in (ROOT / "shared/contracts").glob("*.py"))
    names = {name for source in sources for name in re.findall(r'= Question\(\s*"(\w+)"', source)}
    assert names
    assert names == {question.name for question in questions()}
    for question in questions():
        channel = DOCUMENT["channels"][f"history.{question.name}"]
        assert channel["address"] == f"chat.history.{question.name}"
        assert list(channel["messages"]) == [question.query.__name__]
        asks = DOCUMENT["operations"][f"gateway.send.history.{question.name}"]
        (reply,) = asks["reply"]["messages"]
        assert resolve(resolve(reply)).get("name") == question.reply.__name__


def nodes(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from nodes(each)
    elif isinstance(value, list):
        for each in value:
            yield from nodes(each)


def resolve(reference: dict[str, Any], document: dict[str, Any] = DOCUMENT) -> dict[str, Any]:
    """What a reference stands for."""
    found: Any = document
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    assert isinstance(found, dict)
    return found


def test_every_reference_is_of_something() -> None:
    references = [node for node in nodes(DOCUMENT) if "$ref" in node]
    assert len(references) > 100
    for reference in references:
        resolve(reference)


def test_an_operation_is_of_a_channel_and_of_messages_in_it() -> None:
    used = set()
    for key, operation in DOCUMENT["operations"].items():
        assert operation["action"] in {"send", "receive"}
        assert key.split(".")[1] == operation["action"]
        for half in (operation, operation.get("reply", operation)):
            channel = half["channel"]["$ref"]
            used.add(channel.rsplit("/", 1)[1])
            assert half["messages"]
            for message in half["messages"]:
                assert message["$ref"].startswith(f"{channel}/messages/")
    sockets = {channel.key for channel in socket_channels()}
    assert used | sockets == set(DOCUMENT["channels"])


def test_the_names_in_an_address_are_described() -> None:
    for channel in DOCUMENT["channels"].values():
        named = set(re.findall(r"{(\w+)}", channel["address"] or ""))
        assert named == set(channel.get("parameters", {}))


def test_schemas_are_of_draft_7() -> None:
    newer = {"$defs", "prefixItems", "discriminator", "unevaluatedProperties", "dependentRequired"}
    for schema in DOCUMENT["components"]["schemas"].values():
        for node in nodes({**schema, "properties": list(schema.get("properties", {}).values())}):
            assert not newer & node.keys()


def test_the_head_of_a_frame_is_as_it_is_described() -> None:
    frame = Frame(FrameKind.TOKENS, 258, 2, 3, 4, 5, 6, b"body")
    data, offset = frame.to_bytes(), 0
    found = {}
    for name, bits, _ in HEAD:
        found[name] = int.from_bytes(data[offset : offset + bits // 8])
        offset += bits // 8
    assert offset == HEAD_SIZE
    assert found == {
        "version": 1,
        "kind": 1,
        "attempt": 258,
        "first": 2,
        "events": 3,
        "tokens": 4,
        "text_length": 5,
        "thinking_length": 6,
    }
    assert set(BODIES) == set(FrameKind)


class _Hello(BaseModel):
    """Said by a client.

    Not more than that.
    """

    type: Literal["hello"] = "hello"


class _Welcome(BaseModel):
    """Said by the gateway."""

    type: Literal["welcome"] = "welcome"
    pair: tuple[int, str] = (1, "a")


def test_a_message_of_a_socket_is_in_once_it_is_named() -> None:
    said: Said = (("client", _Hello), ("server", _Welcome))
    document = build([*nats_channels(), socket_channel("greeting", "/ws/greeting/", "Hi.", said)])
    operations = document["operations"]
    (hello,) = operations["gateway.receive.greeting"]["messages"]
    (welcome,) = operations["gateway.send.greeting"]["messages"]
    assert resolve(resolve(hello, document), document)["description"] == "Said by a client."
    message = resolve(resolve(welcome, document), document)
    pair = resolve(message["payload"], document)["properties"]["pair"]
    assert [each["type"] for each in pair["items"]] == ["integer", "string"]


def test_a_socket_has_every_name_that_its_address_is_asked_for() -> None:
    routes = [path.read_text() for path in (ROOT / "services/api/routes").glob("*socket*.py")]
    guard = (ROOT / "services/api/guard.py").read_text()
    shown = {name for text in routes for name in re.findall(r'query_params\.get\("(\w+)"', text)}
    caller = set(re.findall(r'query_values\(.+\)\.get\("(\w+)"', guard))
    assert shown
    assert caller == {"token", "ticket"}

    queries = {
        key: DOCUMENT["channels"][key]["bindings"]["ws"]["query"]["properties"]
        for key in ("session_socket", "sessions_socket")
    }

    assert queries["session_socket"].keys() == shown | caller
    assert queries["sessions_socket"].keys() == caller
    assert all(queries["session_socket"][name]["type"] == "boolean" for name in shown)
    assert all(it["description"] for each in queries.values() for it in each.values())


def against_its_schema(path: Path) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules/@asyncapi/specs").exists():
        pytest.skip("needs Node and `npm install` in tests/e2e/node (make test does it)")
    return subprocess.run(
        [node, "asyncapi.mjs", str(path)],
        cwd=NODE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_is_valid_by_asyncapis_own_schema(tmp_path: Path) -> None:
    checked = against_its_schema(COMMITTED)
    assert checked.returncode == 0, checked.stderr

    broken = tmp_path / "broken.json"
    operations = {"a": {"action": "shout", "channel": {"$ref": "#/channels/requests"}}}
    broken.write_text(json.dumps({**DOCUMENT, "operations": operations}))
    assert "/operations/a" in against_its_schema(broken).stderr
