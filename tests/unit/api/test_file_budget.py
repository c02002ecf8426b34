"""Files of sessions take so much memory and no more, however slowly clients send and read them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message

from services.api.http_settings import HttpSettings
from services.api.sessions.file_budget import FileBudget, Share
from shared.contracts.ids import UserId
from shared.errors import ChatError, GatewayBusy, PayloadTooLarge, RateLimited
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.world import FakeWorld, app_of, client_of
from tests.unit.api.test_large_files import SESSION, SESSIONS, Swallowing, file_of, stored

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
EXPORT = f"{SESSIONS}{SESSION}/export/"
SMALL: dict[str, Any] = {"max_import_bytes": 2**20, "max_files_bytes": 2**21}
"""1 MiB for one user, 2 MiB in all."""


@pytest.mark.parametrize(
    ("held", "size", "refusal"),
    [
        ([(ALICE, 40)], 10, None),
        ([(ALICE, 40)], 11, RateLimited),
        ([(BOB, 50), (CAROL, 45)], 5, None),
        ([(BOB, 50), (CAROL, 45)], 6, GatewayBusy),
        ([], 51, PayloadTooLarge),
    ],
)
def test_a_user_has_half_of_what_all_have(
    held: list[tuple[UserId, int]], size: int, refusal: type[ChatError] | None
) -> None:
    budget = FileBudget(100)
    for user, bytes_held in held:
        Share(budget, user).hold(bytes_held)
    share = Share(budget, ALICE)
    for take in (share.declare, share.hold):
        with pytest.raises(refusal) if refusal else contextlib.nullcontext():
            take(size)


def test_what_is_declared_is_not_held_and_what_is_given_back_is_free() -> None:
    budget = FileBudget(100)
    first, second = Share(budget, ALICE), Share(budget, ALICE)
    first.declare(50)
    second.hold(50)
    second.hold(20)
    first.hold(30)
    with pytest.raises(RateLimited):
        first.hold(31)
    second.close()
    first.hold(50)


class Reader:
    """A client over ASGI that takes ``most`` messages of an answer, and then waits."""

    def __init__(self, most: int) -> None:
        self.messages: list[Message] = []
        self.stuck, self.go_on = asyncio.Event(), asyncio.Event()
        self._most = most

    async def get(self, app: ASGIApp, path: str) -> None:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 4000),
            "server": ("127.0.0.1", 8000),
        }

        async def receive() -> Message:
            await asyncio.Event().wait()
            raise AssertionError("nothing else comes")

        await app(scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        if len(self.messages) >= self._most:
            self.stuck.set()
            await self.go_on.wait()
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(it.get("body", b"") for it in self.messages)

    @property
    def whole(self) -> bool:
        return self.messages[-1].get("more_body") is False


@contextlib.asynccontextmanager
async def reading(app: ASGIApp, reader: Reader) -> AsyncGenerator[asyncio.Task[None]]:
    """It has begun, and takes nothing any more."""
    task = asyncio.create_task(reader.get(app, EXPORT))
    try:
        await reader.stuck.wait()
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def test_an_export_that_is_read_slowly_counts_until_it_was_read() -> None:
    world = FakeWorld()
    world.history = Swallowing(*stored(60, "x" * 10_000))
    reader = Reader(most=3)
    async with app_of(world, quick_settings(**SMALL)) as app, _client(app) as client:
        async with reading(app, reader) as task:
            refused = await client.get(EXPORT)
            reader.go_on.set()
            await task
        answer = await client.get(EXPORT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "5"
    assert (answer.status_code, answer.content) == (200, reader.body)
    assert reader.whole


async def test_a_reader_that_leaves_gives_back_what_was_held_for_it() -> None:
    world = FakeWorld()
    world.history = Swallowing(*stored(60, "x" * 10_000))
    async with app_of(world, quick_settings(**SMALL)) as app, _client(app) as client:
        async with reading(app, Reader(most=3)):
            assert (await client.get(EXPORT)).status_code == 429
        assert (await client.get(EXPORT)).status_code == 200


@pytest.mark.parametrize(
    "patience",
    [
        {"send_timeout": timedelta(milliseconds=50)},
        {"body_deadline": timedelta(milliseconds=50), "send_timeout": timedelta(hours=1)},
    ],
    ids=["no byte for too long", "not whole for too long"],
)
async def test_a_reader_that_takes_too_long_is_cut_off(patience: dict[str, Any]) -> None:
    world = FakeWorld()
    world.history = Swallowing(*stored(60, "x" * 10_000))
    reader = Reader(most=3)
    async with app_of(world, quick_settings(**SMALL, **patience)) as app, _client(app) as client:
        async with reading(app, reader) as task:
            await task
        assert (await client.get(EXPORT)).status_code == 200
    # What has no end is no file: its server closes the connection.
    assert not reader.whole


async def test_an_export_of_more_than_a_user_may_hold_is_too_large() -> None:
    world = FakeWorld()
    world.history = history = Swallowing(*stored(2000, "x" * 10_000))
    async with client_of(world, quick_settings(**SMALL)) as client:
        for form in ("json", "markdown"):
            answer = await client.get(EXPORT, params={"format": form})
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                413,
                "request_too_large",
            )
    # Each of the two has stopped at the first page, of ten.
    assert history.read == 2


async def _watched(file: bytes, read: asyncio.Event) -> AsyncIterator[bytes]:
    read.set()
    yield file


@pytest.mark.parametrize("declared", [True, False])
async def test_bodies_of_imports_count_while_they_come(declared: bool) -> None:
    world = FakeWorld()
    world.history = history = Swallowing()
    file = file_of(60, "x" * 10_000)
    begun, go_on, read = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield file[:-1]
        begun.set()
        await go_on.wait()
        yield file[-1:]

    async with client_of(world, quick_settings(**SMALL)) as client:
        coming = asyncio.create_task(client.post(f"{SESSIONS}import/", content=slowly()))
        await begun.wait()
        another = _watched(file, read)
        headers = {"Content-Length": str(len(file))} if declared else {}
        refused = await client.post(f"{SESSIONS}import/", content=another, headers=headers)
        go_on.set()
        assert (await coming).status_code == 201
        again = await client.post(f"{SESSIONS}import/", content=file)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "5"
    # What says that it is too much is not read.
    assert read.is_set() is not declared
    assert again.status_code == 201
    assert len(history.imported) == 2


def test_there_is_room_for_the_largest_import() -> None:
    with pytest.raises(ValueError, match="at least twice API_MAX_IMPORT_BYTES"):
        HttpSettings(max_import_bytes=2**20, max_files_bytes=2**21 - 1)
