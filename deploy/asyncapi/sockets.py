"""The WebSockets of the gateway; ``services.api.schemas.sockets`` has their messages."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel

from deploy.asyncapi.channel import Channel, receives, sends
from services.api.schemas.sockets import FROM_CLIENTS, FROM_SERVER, LIST_FROM_SERVER, Ping

SERVER: Final = "gateway"

Direction = Literal["client", "server"]
"""Who says it."""
Said = Sequence[tuple[Direction, type[BaseModel]]]

# The one place to name a message of a socket.
SESSION: Final[Said] = (
    *(("client", model) for model in FROM_CLIENTS),
    *(("server", model) for model in FROM_SERVER),
)
SESSIONS: Final[Said] = (
    ("client", Ping),
    *(("server", model) for model in LIST_FROM_SERVER),
)

_TOKEN: Final[dict[str, Any]] = {
    "ws": {
        "method": "GET",
        "query": {
            "type": "object",
            "properties": {
                "token": {
                    "type": "string",
                    "description": "Or a header `Authorization: Token <token>`.",
                },
                "ticket": {
                    "type": "string",
                    "description": "One-time, from `POST /api/chat/tickets/`; instead of a token.",
                },
            },
        },
    }
}


def socket_channels() -> list[Channel]:
    """One for each socket."""
    return [
        socket_channel(
            "session_socket",
            "/ws/ai-chat/session/{session_id}/",
            "One session: what is asked, what is answered, who types.",
            SESSION,
        ),
        socket_channel(
            "sessions_socket",
            "/ws/ai-chat/sessions/",
            "The list of a user's sessions, as it changes.",
            SESSIONS,
        ),
    ]


def socket_channel(key: str, where: str, description: str, said: Said) -> Channel:
    """One socket, from the gateway's point of view as all of the document."""
    from_server = tuple(model for direction, model in said if direction == "server")
    from_client = tuple(model for direction, model in said if direction == "client")
    flows = (sends(SERVER, *from_server), receives(SERVER, *from_client))
    return Channel(
        key,
        where,
        SERVER,
        description,
        tuple(flow for flow in flows if flow.messages),
        bindings=_TOKEN,
    )
