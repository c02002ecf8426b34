"""One form of times in everything that is answered: UTC, milliseconds, ``Z``."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from services.api.schemas.sessions import MessageBody, SessionBody
from services.api.schemas.sockets import UserMessage
from tests.fakes.api.whole_history import WholeHistory
from tests.fakes.api.world import FakeWorld, client_of

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FILE: dict[str, Any] = {
    "format": "parley-session",
    "createdAt": "2025-01-01T00:00:00Z",
    "messages": [
        {"id": "a", "role": "user", "content": "Hi", "createdAt": "2025-01-01T01:00:00+01:00"}
    ],
}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2026-03-01T12:00:00.000Z"),
        (NOON + timedelta(milliseconds=7), "2026-03-01T12:00:00.007Z"),
        # Cut as it is where it is stored: rounded up, it would differ from what is read later.
        (NOON + timedelta(microseconds=999_999), "2026-03-01T12:00:00.999Z"),
        (NOON.astimezone(timezone(timedelta(hours=5))), "2026-03-01T12:00:00.000Z"),
    ],
)
def test_a_time_has_milliseconds_and_is_in_utc(moment: datetime, text: str) -> None:
    message = MessageBody(
        id="m", role="user", content="Hi", created_at=moment, sibling_ids=["m"], depth=1
    )
    shown = UserMessage(message=message, completion_id="c")

    assert message.model_dump(mode="json")["created_at"] == text
    assert f'"created_at":"{text}"' in shown.model_dump_json()


def test_the_document_says_that_it_is_a_time() -> None:
    created = SessionBody.model_json_schema(mode="serialization")["properties"]["createdAt"]
    assert (created["type"], created["format"]) == ("string", "date-time")


@pytest.mark.parametrize("face", ["/api/chat/", "/ai-chat/api/"])
async def test_sessions_messages_and_exports_agree(face: str) -> None:
    world = FakeWorld()
    world.history = WholeHistory()
    async with client_of(world) as client:
        path = f"{face}sessions/"
        made = (await client.post(f"{path}import/", json=FILE)).json()
        other = (await client.post(path, json={})).json()
        await client.delete(f"{path}{other['id']}/")
        answers = [
            made,
            (await client.get(f"{path}{made['id']}/")).json(),
            (await client.get(f"{path}{made['id']}/messages/")).json(),
            (await client.get(f"{path}{made['id']}/export/")).json(),
            (await client.get(f"{path}?deleted=true")).json(),
        ]

    moments = [moment for answer in answers for moment in _moments(answer)]
    assert len(moments) >= 9
    assert [moment for moment in moments if not MOMENT.fullmatch(moment)] == []
    assert "2025-01-01T00:00:00.000Z" in moments


def _moments(answer: object) -> list[str]:
    if isinstance(answer, list):
        return [moment for one in answer for moment in _moments(one)]
    if not isinstance(answer, dict):
        return []
    own = [value for key, value in answer.items() if key.endswith(("_at", "edAt")) and value]
    return own + [moment for value in answer.values() for moment in _moments(value)]
