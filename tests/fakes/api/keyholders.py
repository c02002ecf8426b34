"""People with API keys, at gateways that ask for them."""

from datetime import datetime
from typing import Any, TypedDict, Unpack

from nats.aio.client import Client

from services.api.access.key_admin import KeyAdmin, NewKey, Wish
from services.api.adapters.nats_history import NatsHistory
from shared.contracts.ids import UserId
from tests.fakes.api.gateway import RunningGateway
from tests.support.waiting import eventually

ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}


class More(TypedDict, total=False):
    """What a key may be for, besides its user."""

    name: str
    admin: bool
    models: list[str]
    requests_per_minute: int
    concurrent: int
    tokens_per_month: int
    expires_at: datetime


def admin_of(client: Client) -> KeyAdmin:
    """What ``parley keys`` uses."""
    return KeyAdmin(NatsHistory(client, timeout=5))


async def new_key(client: Client, user: str, **wish: Unpack[More]) -> NewKey:
    """A key, as ``parley keys create`` makes it."""
    return await admin_of(client).create(Wish(UserId(user), **wish))


def bearer(token: str) -> dict[str, str]:
    """The header that carries it."""
    return {"Authorization": f"Bearer {token}"}


async def ready(*gateways: RunningGateway) -> None:
    """Wait until they know all keys."""
    for gateway in gateways:

        async def answers(here: RunningGateway = gateway) -> bool:
            return (await here.http.get("/readyz")).status_code == 200

        await eventually(answers)


async def admits(gateway: RunningGateway, token: str) -> bool:
    """Whether a key lets somebody in now."""
    reply = await gateway.http.get("/v1/models", headers=bearer(token))
    assert reply.status_code in {200, 401}, reply.text
    return reply.status_code == 200
