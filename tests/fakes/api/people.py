"""People at sockets of a session."""

from tests.fakes.api.gateway import RunningGateway
from tests.support.socket_client import SocketClient


async def new_session(gateway: RunningGateway) -> str:
    made = await gateway.http.post("/ai-chat/api/sessions/", json={"model": "demo"})
    assert made.status_code == 201
    return str(made.json()["id"])


def at(gateway: RunningGateway, session: str, query: str = "?token=secret") -> SocketClient:
    """Somebody at a session's socket."""
    return SocketClient(gateway.url, f"/ws/ai-chat/session/{session}/{query}")


def send(text: object, **more: object) -> dict[str, object]:
    """The message that says something."""
    return {"type": "send_message", "message": text, **more}
