"""Every message is answered, whatever goes wrong."""

import asyncio
import json
from datetime import UTC, datetime

from services.history.handlers import Operation
from services.history.ports import RefusedByStore, TooLargeForStore
from shared.contracts.history import SessionReply, StoredMessage, UpdateSession
from shared.contracts.history_health import HealthQuery, HistoryHealth
from shared.contracts.ids import MessageId, SessionId, UserId
from shared.contracts.imports import ImportSession
from shared.contracts.session_questions import HEALTH, IMPORT_SESSION, UPDATE_SESSION
from shared.errors import InvalidRequest, SessionNotFound
from tests.support.stalls import stalled

_MAX = 8 * 2**20


def _operation(answer: object, *, deadline: float = 5) -> Operation[HealthQuery, HistoryHealth]:
    async def use_case(_query: HealthQuery) -> HistoryHealth:
        if isinstance(answer, BaseException):
            raise answer
        if answer is None:
            await asyncio.Event().wait()
        return HistoryHealth(database_ok=True)

    return Operation(HEALTH, use_case, deadline)


async def _code(operation: Operation[HealthQuery, HistoryHealth], body: bytes = b"{}") -> str:
    reply = HistoryHealth.from_bytes(await operation.answer(body, _MAX))
    return reply.error.code if reply.error else "none"


async def test_an_answer_carries_no_error() -> None:
    assert await _code(_operation(1)) == "none"


async def test_an_error_of_ours_is_answered_with_its_code() -> None:
    assert await _code(_operation(SessionNotFound("gone"))) == "session_not_found"


async def test_an_error_names_the_field_that_is_to_blame() -> None:
    reply = HistoryHealth.from_bytes(
        await _operation(InvalidRequest("no", param="messages[1].id")).answer(b"{}", _MAX)
    )

    assert reply.error is not None
    assert reply.error.param == "messages[1].id"


async def test_a_bug_is_answered_as_an_internal_error_without_its_text() -> None:
    reply = await _operation(KeyError("secret")).answer(b"{}", _MAX)

    assert b"internal_error" in reply
    assert b"secret" not in reply


async def test_a_document_that_the_database_finds_too_large_is_said_so() -> None:
    assert await _code(_operation(TooLargeForStore("17 MB"))) == "request_too_large"
    assert await _code(_operation(RefusedByStore("code 2"))) == "internal_error"


async def test_a_payload_that_is_no_query_is_answered_and_not_quoted() -> None:
    for body in (b"", b"\xff\x00", b"[]", b"17", b'"secret"'):
        reply = await _operation(1).answer(body, _MAX)
        assert b"invalid_request" in reply
        assert b"secret" not in reply


async def test_a_title_of_256_characters_is_an_invalid_request() -> None:
    operation = Operation(UPDATE_SESSION, _never)
    body = json.dumps({"user_id": "a", "session_id": "s", "title": "x" * 256})

    reply = await operation.answer(body.encode(), _MAX)

    assert b"invalid_request" in reply


async def test_a_database_that_does_not_answer_is_an_answer_in_time() -> None:
    assert await _code(_operation(None, deadline=0.01)) == "history_unavailable"


async def test_a_reply_that_the_broker_cannot_carry_is_an_error_instead() -> None:
    reply = HistoryHealth.from_bytes(await _operation(1).answer(b"{}", 64 * 1024))

    assert reply.error is not None
    assert reply.error.code == "request_too_large"


async def _never(_command: UpdateSession) -> SessionReply:
    raise AssertionError


async def test_others_have_their_turns_while_a_large_import_is_read() -> None:
    messages = [
        StoredMessage(
            id=MessageId(f"{n}"),
            role="user",
            content="word " * 20,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            depth=1,
        )
        for n in range(20_000)
    ]
    body = ImportSession(
        user_id=UserId("u"), session_id=SessionId("s"), messages=messages
    ).to_bytes()
    brought: list[int] = []

    async def bring_in(command: ImportSession) -> SessionReply:
        brought.append(len(command.messages))
        return SessionReply()

    operation = Operation(IMPORT_SESSION, bring_in)
    seen = await stalled(operation.answer(body, _MAX))
    assert brought == [20_000]
    assert seen.share < 0.5
