"""Messages of the sockets: requirements 5 to the letter, and what is documented beside them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.api.schemas.model import RequestModel, Sparse, Text
from services.api.schemas.sessions import MessageBody, SessionBody
from services.api.schemas.turns import SendMessageRequest

ESTABLISHED = "Connected to chat session"
LIST_ESTABLISHED = "Connected to session list"
THINKING = "AI is thinking..."


class ClientMessage(RequestModel):
    """Anything that a client sends: its type says the rest."""

    type: Annotated[Text, Field(max_length=64)]


class SendMessage(SendMessageRequest):
    """Say something; settings hold for this turn alone."""

    type: Literal["send_message"]


class Typing(RequestModel):
    """The person types, or has stopped; others in the session are told."""

    type: Literal["typing", "stop_typing"]


class Ping(RequestModel):
    """Answered by ``pong``."""

    type: Literal["ping"]


class StopGeneration(RequestModel):
    """Stop the answer that is under way, or the one of this completion."""

    type: Literal["stop_generation"]
    completion_id: Annotated[Text, Field(max_length=64)] | None = None


class Resume(RequestModel):
    """Say a completion's answer again from the event after ``after``."""

    type: Literal["resume"]
    completion_id: Annotated[Text, Field(max_length=64)]
    after: Annotated[int, Field(strict=True, ge=-1, le=2**31)] = -1


class ServerMessage(BaseModel):
    """Is sent in snake_case; what has no value is left out."""

    model_config = ConfigDict(frozen=True)


class ConnectionEstablished(ServerMessage):
    """The first message; the list's socket has no ``session_id``."""

    type: Literal["connection_established"] = "connection_established"
    session_id: Sparse[str] = None
    message: str = ESTABLISHED


class UserMessage(ServerMessage):
    """Somebody has said something in this session; it is stored."""

    type: Literal["user_message"] = "user_message"
    message: MessageBody
    completion_id: str


class AiTyping(ServerMessage):
    """A turn has begun."""

    type: Literal["ai_typing"] = "ai_typing"
    message: str = THINKING
    completion_id: str
    message_id: Sparse[str] = None
    """The id that the answer will have."""
    parent_id: Sparse[str] = None
    """The message that it answers: the same one again when an answer is regenerated."""
    unavailable_tools: Sparse[list[str]] = None
    """Tools that were asked for, and are not offered to the model."""


class Queued(ServerMessage):
    """It waits for a worker."""

    type: Literal["queued"] = "queued"
    position: int
    estimated_wait_ms: Sparse[int] = None
    completion_id: str


class AiMessageChunk(ServerMessage):
    """More of an answer. ``index`` is of the last event in it: ``resume`` goes on after it."""

    type: Literal["ai_message_chunk"] = "ai_message_chunk"
    content: str
    full_content: Sparse[str] = None
    """All of it so far; absent with ``?full_content=false``."""
    thinking: Sparse[str] = None
    """More of what the model thinks before it answers; ``content`` may be empty then."""
    completion_id: str
    index: int
    resumed: Sparse[bool] = None
    """True on the first piece after ``resume``: it follows what the client has."""


class AiMessageComplete(ServerMessage):
    """The answer as it is stored."""

    type: Literal["ai_message_complete"] = "ai_message_complete"
    message: MessageBody
    completion_id: str


class AiMessageStopped(ServerMessage):
    """Somebody has stopped it; ``message`` is what was said until then."""

    type: Literal["ai_message_stopped"] = "ai_message_stopped"
    message: Sparse[MessageBody] = None
    completion_id: str


class MessageRejected(ServerMessage):
    """Takes ``user_message`` and ``ai_typing`` back: the turn could not be queued.

    Nothing of it is stored; who asked for it has been told why.
    """

    type: Literal["message_rejected"] = "message_rejected"
    message_id: Sparse[str] = None
    """Absent for another answer to a question that stays."""
    completion_id: str


class ParticipantTyping(ServerMessage):
    """Another participant types, or has stopped."""

    type: Literal["typing", "stop_typing"]
    participant: str
    """Of its socket: the same as long as that is open."""


class Participants(ServerMessage):
    """How many sockets the session has open, at all gateways; with ``?presence=true`` alone."""

    type: Literal["presence"] = "presence"
    participants: int


class Pong(ServerMessage):
    """The answer to ``ping``."""

    type: Literal["pong"] = "pong"


class SocketError(ServerMessage):
    """What was wrong; ``code`` and ``param`` are those of the HTTP errors."""

    type: Literal["error"] = "error"
    message: str
    code: str
    param: Sparse[str] = None
    completion_id: Sparse[str] = None
    ai_message: Sparse[MessageBody] = None
    """What was said of an answer until it failed; it is stored so."""
    retry_after: Sparse[int] = None
    """Seconds after which it may be tried again, where a limit was reached."""


class SessionChanged(ServerMessage):
    """On the list's socket: a session is new, or has changed."""

    type: Literal["session_created", "session_updated"]
    session: SessionBody
    answering: Sparse[str] = None
    """The completion that is under way in it; said when it begins, and gone when it has ended."""


class SessionDeleted(ServerMessage):
    """On the list's socket: a session is gone."""

    type: Literal["session_deleted"] = "session_deleted"
    session_id: str


FROM_CLIENTS: tuple[type[BaseModel], ...] = (SendMessage, Typing, Ping, StopGeneration, Resume)
FROM_SERVER: tuple[type[BaseModel], ...] = (
    ConnectionEstablished,
    UserMessage,
    AiTyping,
    Queued,
    AiMessageChunk,
    AiMessageComplete,
    AiMessageStopped,
    MessageRejected,
    ParticipantTyping,
    Participants,
    Pong,
    SocketError,
)
LIST_FROM_SERVER: tuple[type[BaseModel], ...] = (
    ConnectionEstablished,
    SessionChanged,
    SessionDeleted,
    Pong,
    SocketError,
)
