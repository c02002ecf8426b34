"""A key is made as it was asked for, or not at all."""

from typing import Any

import pytest
from pydantic.alias_generators import to_camel, to_snake

from services.api.access.key_admin import KeyAdmin, Wish
from shared.contracts.ids import UserId
from tests.fakes.api.gateway import quick_settings
from tests.fakes.api.whole_world import WholeWorld
from tests.fakes.api.world import client_of


@pytest.mark.parametrize("face", ["/api/chat", "/ai-chat/api"])
@pytest.mark.parametrize(
    ("bound", "value"),
    [("rpm", 3), ("requestPerMinute", 3), ("expiresIn", "90d"), ("budget_tokens", 1000)],
)
async def test_a_bound_that_nobody_knows_makes_no_key_without_it(
    face: str, bound: str, value: object
) -> None:
    world = WholeWorld()
    boss = await KeyAdmin(world.asking).create(Wish(UserId("boss"), admin=True))
    head = {"Authorization": f"Bearer {boss.secret}"}
    async with client_of(world, quick_settings(auth="required")) as http:
        wanted: dict[str, Any] = {"user": "ann", bound: value}
        refused = await http.post(f"{face}/keys/", json=wanted, headers=head)
        left = await http.get(f"{face}/keys/?user=ann", headers=head)
    error = refused.json()["error"]
    named = (to_camel if face == "/api/chat" else to_snake)(bound)
    assert (refused.status_code, error["param"]) == (400, named)
    assert error["message"].endswith("is unknown.")
    assert left.json()["keys"] == []
