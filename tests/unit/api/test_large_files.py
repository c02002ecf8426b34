"""Large files of sessions: nobody else waits for them, few at once, and what goes out comes in."""

import asyncio
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from services.api.sessions.turnstile import Turnstile, in_thread
from shared.contracts.chat import FunctionCall, ToolCall, Usage
from shared.contracts.history import MessageTree, ReadTree, Session, SessionReply, StoredMessage
from shared.contracts.ids import MessageId, SessionId, UserId
from shared.contracts.imports import ImportSession, packed
from shared.contracts.questions import Q, Question, R
from shared.errors import GatewayBusy
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.history import NOON, FakeHistory
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of
from tests.fakes.history.conversation import Turn
from tests.support.stalls import stalled

SESSIONS = "/api/chat/sessions/"
SESSION = SessionId("00000000-0000-7000-8000-000000000001")
USER = UserId("local")


def file_of(count: int, text: str = "Hi", **more: Any) -> bytes:  # noqa: ANN401 - any JSON
    """An export of one branch; ``more`` is in each message."""
    messages = [
        {
            "id": f"00000000-0000-5000-8000-{n:012d}",
            "role": ("user", "assistant")[n % 2],
            "content": text,
            "createdAt": "2026-01-01T00:00:00Z",
            "parentId": f"00000000-0000-5000-8000-{n - 1:012d}" if n else None,
            **more,
        }
        for n in range(count)
    ]
    return orjson.dumps({"format": "parley-session", "title": "Long", "messages": messages})


FULL = {
    "model": "demo",
    "usage": {"promptTokens": 1, "completionTokens": 1, "totalTokens": 2, "estimated": False},
    "siblingIds": [],
    "continuedAt": [3],
    "toolCalls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


class Swallowing(FakeHistory):
    """Takes an import for made, and has one session for exports, page by page."""

    def __init__(self, *messages: StoredMessage) -> None:
        super().__init__()
        self.session = Session(
            id=SESSION, title="Long", created_at=NOON, updated_at=NOON, message_count=len(messages)
        )
        self.pages = [messages[at : at + 200] for at in range(0, len(messages), 200)]
        self.imported: list[bytes] = []
        self.read = 0
        """Pages."""

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        if isinstance(query, ImportSession):
            # In a thread, as the adapter does it.
            data = await asyncio.to_thread(query.to_bytes)
            self.imported.append(data)
            return question.reply.model_validate({"session": self.session})
        assert isinstance(query, ReadTree)
        await asyncio.sleep(0)
        self.read += 1
        at = int(query.cursor or 0)
        more = str(at + 1) if at + 1 < len(self.pages) else None
        page = MessageTree(session=self.session, messages=list(self.pages[at]), next_cursor=more)
        assert isinstance(page, question.reply)
        return page


def stored(count: int, text: str = "Hi", *, calls: int = 0) -> list[StoredMessage]:
    """Messages of one branch; with ``calls``, every field has a value."""
    said: dict[str, Any] = {"content": text}
    if calls:
        call = ToolCall(id="c", function=FunctionCall(name="f", arguments="{}"))
        usage = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
        said |= {"model": "demo", "usage": usage, "continued_at": [3], "tool_calls": [call] * calls}
    first = StoredMessage(id=MessageId("0"), role="assistant", created_at=NOON, depth=1)
    return [
        first.model_copy(
            update={**said, "id": f"{n:036d}", "depth": n + 1}
            | ({"parent_id": f"{n - 1:036d}", "sibling_ids": ["0"]} if n else {})
        )
        for n in range(count)
    ]


async def test_others_have_their_turns_while_twenty_thousand_messages_come_in() -> None:
    world = FakeWorld()
    world.history = history = Swallowing()
    file = file_of(20_000, "word " * 20, **FULL)
    async with client_of(world) as client:
        seen = await stalled(client.post(f"{SESSIONS}import/", content=file))
    assert seen.outcome.status_code == 201, seen.outcome.text
    assert len(ImportSession.from_bytes(history.imported[0]).messages) == 20_000
    assert seen.share < 0.5


@pytest.mark.parametrize("form", ["json", "markdown"])
async def test_others_have_their_turns_while_twenty_thousand_messages_go_out(form: str) -> None:
    world = FakeWorld()
    world.history = Swallowing(*stored(20_000, "word " * 20, calls=1))
    async with client_of(world) as client:
        path = f"{SESSIONS}{SESSION}/export/?format={form}"
        seen = await stalled(client.get(path))
    assert seen.outcome.status_code == 200
    assert seen.outcome.headers["content-length"] == str(len(seen.outcome.content))
    assert seen.share < 0.5


async def test_the_command_of_an_import_is_written_and_read_message_by_message() -> None:
    messages = stored(20_000, "word " * 20, calls=1)
    command = ImportSession(user_id=USER, session_id=SESSION, messages=messages)
    written = await stalled(asyncio.to_thread(command.to_bytes))
    read = await stalled(asyncio.to_thread(ImportSession.from_bytes, written.outcome))
    assert read.outcome == command
    assert max(written.share, read.share) < 0.5


async def test_an_export_with_every_field_in_each_of_its_messages_can_be_imported() -> None:
    world = FakeWorld()
    world.history = history = Swallowing(*stored(20_000, calls=1))
    async with client_of(world) as client:
        exported = await client.get(f"{SESSIONS}{SESSION}/export/")
        made = await client.post(f"{SESSIONS}import/", content=exported.content)
    assert "x-importable" not in exported.headers
    assert made.status_code == 201, made.text
    assert len(ImportSession.from_bytes(history.imported[0]).messages) == 20_000


@pytest.mark.parametrize(
    ("count", "calls", "settings", "carried"),
    [
        (20_001, 0, {}, 2**24),
        (200, 0, {"max_import_bytes": 4096}, 2**24),
        (200, 0, {}, 66_000),
        (3, 1000, {}, 85_536),
        (200, 1000, {"max_import_bytes": 2**26}, 2**26),
    ],
    ids=[
        "messages",
        "bytes of the file",
        "bytes on the way",
        "bytes of a message",
        "lists and objects",
    ],
)
async def test_an_export_that_an_import_would_refuse_says_so(
    count: int, calls: int, settings: dict[str, Any], carried: int
) -> None:
    world = FakeWorld()
    world.broker.max_payload = carried
    path = f"{SESSIONS}{SESSION}/export/"
    world.history = Swallowing(*stored(2))
    async with client_of(world, quick_settings(**settings)) as client:
        short = await client.get(path)
    world.history = Swallowing(*stored(count, calls=calls))
    async with client_of(world, quick_settings(**settings)) as client:
        long = await client.get(path)
        markdown = await client.get(path, params={"format": "markdown"})
    assert "x-importable" not in short.headers
    assert (long.status_code, long.headers["x-importable"]) == (200, "false")
    assert "x-importable" not in markdown.headers


async def test_an_import_may_be_larger_than_other_bodies() -> None:
    world = FakeWorld()
    world.history = Swallowing()
    file = file_of(100)
    async with client_of(world, quick_settings(max_body_bytes=2048)) as client:
        made = await client.post(f"{SESSIONS}import/", content=file)
    assert made.status_code == 201
    async with client_of(world, quick_settings(max_import_bytes=2048)) as client:
        refused = await client.post(f"{SESSIONS}import/", content=file)
    assert refused.status_code == 413


async def test_a_command_that_was_packed_is_the_same_and_one_that_was_cut_is_refused() -> None:
    command = ImportSession(user_id=USER, session_id=SESSION, messages=stored(50, calls=1))
    small = packed([command.to_bytes()])
    assert len(small) < len(command.to_bytes()) / 4
    assert ImportSession.from_bytes(small) == command
    endless = packed([b"[" * 2**20] * 257)
    for wrong in (
        endless,
        small[:-9],
        small[:2],
        b"\x1f\x8b" + b"x" * 50,
        b"[]",
        b"{",
        b'{"messages": 1}',
    ):
        with pytest.raises(ValidationError):
            ImportSession.from_bytes(wrong)


@pytest.mark.parametrize("face", [SESSIONS, "/ai-chat/api/sessions/"])
async def test_an_answer_with_a_nul_goes_out_as_what_can_come_in(face: str) -> None:
    world, history = FakeWorld(), WholeHistory()
    world.history = history
    async with client_of(world) as client:
        session = (await client.post(SESSIONS, json={"model": "demo"})).json()["id"]
        turn = Turn(session_id=SessionId(session), user_id=USER, text="a\0b \\u0000 \\\0")
        await history.scene.say(turn)
        exported = await client.get(f"{face}{session}/export/")
        made = await client.post(f"{face}import/", content=exported.content)
        assert made.status_code == 201, made.text
        again = (await client.get(f"{face}{made.json()['id']}/")).json()
    said = "a\N{REPLACEMENT CHARACTER}b \\u0000 \\\N{REPLACEMENT CHARACTER}"
    assert said in [message["content"] for message in again["messages"]]


async def test_a_few_are_inside_some_wait_and_the_others_are_told_at_once() -> None:
    turnstile = Turnstile(at_once=1, most=2, patience=60)
    async with turnstile.place():
        waiting = asyncio.create_task(_enter(turnstile))
        await asyncio.sleep(0)
        with pytest.raises(GatewayBusy):
            await _enter(turnstile)
        assert not waiting.done()
    await waiting
    await _enter(turnstile)


async def test_who_has_waited_for_too_long_is_told_and_takes_no_place() -> None:
    turnstile = Turnstile(at_once=1, most=2, patience=0)
    async with turnstile.place():
        for _ in range(3):
            with pytest.raises(GatewayBusy):
                await _enter(turnstile)
    await _enter(turnstile)


async def test_a_gateway_with_too_many_files_says_when_to_come_again() -> None:
    world = FakeWorld()
    history = Swallowing()
    hold, held = asyncio.Event(), asyncio.Event()

    async def slow(_question: object, _query: object) -> SessionReply:
        held.set()
        await hold.wait()
        return SessionReply(session=history.session)

    history.ask = slow  # type: ignore[method-assign, assignment]
    world.history = history
    async with client_of(world) as client:
        path = f"{SESSIONS}{SESSION}/export/"
        ten = [asyncio.create_task(client.get(path)) for _ in range(10)]
        await held.wait()
        answers = [await client.get(path)]
        for task in ten:
            task.cancel()
        await asyncio.gather(*ten, return_exceptions=True)
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (503, "gateway_busy")
    assert answers[0].headers["retry-after"] == "5"


async def test_who_leaves_keeps_its_place_until_its_thread_has_ended() -> None:
    loop = asyncio.get_running_loop()
    begun, end = asyncio.Event(), asyncio.Event()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(end.wait(), loop).result()

    turnstile = Turnstile(at_once=1, most=1)

    async def inside() -> None:
        async with turnstile.place():
            await in_thread(work)

    task = asyncio.create_task(inside())
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    with pytest.raises(GatewayBusy):
        await _enter(turnstile)
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _enter(turnstile)


async def _enter(turnstile: Turnstile) -> None:
    async with turnstile.place():
        pass
