"""The WebSockets of the gateway; ``services.api.schemas.sockets`` has their messages."""

from collections.abc import Mapping, Sequence
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

_CALLER: Final[dict[str, Any]] = {
    "token": {
        "type": "string",
        "description": "Or a header `Authorization: Token <token>`.",
    },
    "ticket": {
        "type": "string",
        "description": "One-time, from `POST /api/chat/tickets/`; instead of a token.",
    },
}
_NOTHING: Final[Mapping[str, Any]] = {}
_SHOWN: Final[dict[str, Any]] = {
    "full_content": {
        "type": "boolean",
        "default": True,
        "description": "`false` leaves `full_content` out of the pieces of an answer, and sends "
        "each at once; with it they are joined as the text grows.",
    },
    "join": {
        "type": "boolean",
        "default": True,
        "description": "`false` does not repeat what has been said of a running answer: `resume` "
        "asks for it.",
    },
    "presence": {
        "type": "boolean",
        "default": False,
        "description": "`true` tells how many sockets the session has, at all gateways, whenever "
        "that changes.",
    },
}


def socket_channels() -> list[Channel]:
    """One for each socket."""
    return [
        socket_channel(
            "session_socket",
            "/ws/ai-chat/session/{session_id}/",
            "One session: what is asked, what is answered, who types.",
            SESSION,
            query=_SHOWN,
        ),
        socket_channel(
            "sessions_socket",
            "/ws/ai-chat/sessions/",
            "The list of a user's sessions, as it changes.",
            SESSIONS,
        ),
    ]


def socket_channel(
    key: str, where: str, description: str, said: Said, *, query: Mapping[str, Any] = _NOTHING
) -> Channel:
    """One socket, from the gateway's point of view as all of the document."""
    asked = {"type": "object", "properties": {**_CALLER, **query}}
    from_server = tuple(model for direction, model in said if direction == "server")
    from_client = tuple(model for direction, model in said if direction == "client")
    flows = (sends(SERVER, *from_server), receives(SERVER, *from_client))
    return Channel(
        key,
        where,
        SERVER,
        description,
        tuple(flow for flow in flows if flow.messages),
        bindings={"ws": {"method": "GET", "query": asked}},
    )
