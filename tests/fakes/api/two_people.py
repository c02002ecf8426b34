"""Ann, who has things, and Bob, who knows all their ids."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import httpx
from starlette.types import ASGIApp

from shared.contracts.ids import new_completion_id, new_preset_id, new_session_id
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.whole_world import MARK, Belongings, WholeWorld, belongings_of
from tests.fakes.api.world import app_of
from tests.support.asgi import http_client

COMPLETIONS: Final = "/v1/chat/completions"
ASK: Final[dict[str, Any]] = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
IDEMPOTENCY: Final = {"Idempotency-Key": "one"}


class Scene(NamedTuple):
    """What Ann has, and Bob, who knows all her ids."""

    app: ASGIApp
    http: httpx.AsyncClient
    ann: Mapping[str, str]
    bob: Mapping[str, str]
    hers: Belongings
    his: Belongings

    async def bob_asks(
        self, method: str, path: str, things: Belongings, body: object = None
    ) -> tuple[int, str]:
        """The answer, with the ids of what it is about taken out."""
        names = {**things._asdict(), "model_id": "demo", "key_id": things.preset_id}
        reply = await self.http.request(
            method, path.format(**names), json=body, headers={**self.bob, **IDEMPOTENCY}
        )
        text = reply.text
        for name, value in names.items():
            text = text.replace(value, name)
        return reply.status_code, text

    async def everything_of_ann(self) -> list[str]:
        paths = ("sessions", f"sessions/{self.hers.session_id}", "presets", "preferences", "usage")
        replies = [await self.http.get(f"/api/chat/{path}", headers=self.ann) for path in paths]
        assert [reply.status_code for reply in replies] == [200] * len(replies)
        return [reply.text for reply in replies]


@asynccontextmanager
async def two_people(*, mode: str = "required", admin: bool = False) -> AsyncGenerator[Scene]:
    """At one gateway; ``admin``: Bob is an administrator."""
    world = WholeWorld()
    async with app_of(world, quick_settings(auth=mode)) as app, http_client(app) as http:
        keys = [await world.new_key("ann"), await world.new_key("bob", admin=admin)]
        ann, bob = ({"Authorization": f"Bearer {key}"} for key in keys)
        hers = await belongings_of(http, keys[0])
        his = await belongings_of(http, keys[1])
        preferences = {"systemPrompt": f"{MARK} of Ann"}
        await http.put("/api/chat/preferences", json=preferences, headers=ann)
        again = await http.post(COMPLETIONS, json=ASK, headers={**ann, **IDEMPOTENCY})
        assert again.status_code == 200
        yield Scene(app, http, ann, bob, hers, his)


def nobodys() -> Belongings:
    """Ids of the right form that nothing has."""
    return Belongings(new_session_id(), str(new_session_id()), new_completion_id(), new_preset_id())
