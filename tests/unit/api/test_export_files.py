"""Exports as files that people save and read."""

import json
import re
from email.message import Message as Headers
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of

SESSIONS = "/api/chat/sessions/"
SAID = [
    ("a", None, "system", "Be brief.", "2025-01-01T09:59:59Z"),
    ("b", "a", "user", "Hi\nthere", "2025-01-01T10:00:00.250Z"),
    ("c", "b", "assistant", "Hello", "2025-01-01T11:30:07.999Z"),
]


async def _exported(title: str, form: str) -> httpx.Response:
    world = FakeWorld()
    world.history = WholeHistory()
    messages: list[dict[str, Any]] = [
        {"id": key, "parentId": parent, "role": role, "content": text, "createdAt": at}
        for key, parent, role, text, at in SAID
    ]
    messages[-1]["model"] = "demo"
    file = {"format": "parley-session", "title": title, "messages": messages}
    async with client_of(world) as client:
        made = await client.post(f"{SESSIONS}import/", json=file)
        assert made.status_code == 201, made.text
        path = f"{SESSIONS}{made.json()['id']}/export/"
        return await client.get(path, params={"format": form})


@pytest.mark.parametrize(
    ("title", "plain", "name"),
    [
        ("Plans", "Plans", "Plans"),
        ("Über uns: 100%", "Uber-uns-100", "Über uns- 100%"),
        ("東京の天気", "session", "東京の天気"),
        ("../../etc/passwd", "etc-passwd", "etc-passwd"),
        ('a"; filename="b', "a-filename-b", "a-; filename=-b"),
        ("  .hidden. \t", "hidden", "hidden"),
        ("\U0001f99c\r\nSet-Cookie: x", "Set-Cookie-x", "\U0001f99c Set-Cookie- x"),
        ("///", "session", "session"),
        ("é" * 200, "e" * 60, "é" * 80),
    ],
)
async def test_a_file_is_named_after_its_session_in_any_script(
    title: str, plain: str, name: str
) -> None:
    answer = await _exported(title, "markdown")

    disposition = answer.headers["content-disposition"]
    assert disposition.isascii()
    found = re.fullmatch(
        r"""attachment; filename="([A-Za-z0-9-]+\.md)"; filename\*=UTF-8''([^ ]+)""", disposition
    )
    assert found is not None, disposition
    assert found[1] == f"{plain}.md"
    assert unquote(found[2]) == f"{name}.md"
    # What is not written as it is stands as RFC 5987 has it.
    assert re.fullmatch(r"(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+", found[2])
    read = Headers()
    read["Content-Disposition"] = disposition
    assert read.get_content_disposition() == "attachment"


async def test_headings_say_who_spoke_and_when() -> None:
    text = (await _exported("Plans", "markdown")).text

    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Plans",
        "## System, 2025-01-01 09:59 UTC",
        "## You, 2025-01-01 10:00 UTC",
        "## Assistant (demo), 2025-01-01 11:30 UTC",
    ]
    assert "Hi\nthere" in text


async def test_json_is_not_indented_where_that_would_keep_it_from_being_imported() -> None:
    world = FakeWorld()
    world.history = WholeHistory()
    messages = [
        {"id": f"{n}", "role": "user", "content": "Hi", "createdAt": "2025-01-01T10:00:00Z"}
        for n in range(200)
    ]
    for parent, message in pairwise(messages):
        message["parentId"] = parent["id"]
    file = {"format": "parley-session", "title": "Plans", "messages": messages}
    async with client_of(world) as client:
        made = await client.post(f"{SESSIONS}import/", json=file)
        assert made.status_code == 201, made.text
        path = f"{SESSIONS}{made.json()['id']}/export/"
        indented = len((await client.get(path)).content)
    for limit, readable in ((indented, True), (indented - 1, False)):
        settings = quick_settings(max_import_bytes=limit)
        async with client_of(world, settings) as client:
            exported = await client.get(path)
            brought = await client.post(f"{SESSIONS}import/", content=exported.content)
        assert ("\n  " in exported.text) is readable
        assert len(exported.json()["messages"]) == 200
        assert brought.status_code == 201, brought.text


async def test_json_is_indented_and_keeps_its_letters() -> None:
    answer = await _exported("Über uns", "json")

    text = answer.content.decode()
    assert json.loads(text)["title"] == "Über uns"
    assert '\n  "title": "Über uns",\n' in text
    assert answer.headers["content-disposition"].endswith("filename*=UTF-8''%C3%9Cber%20uns.json")
