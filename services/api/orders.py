"""What a client wants, and how patient the gateway is with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from shared.contracts.chat import FunctionTool, Message, ResponseFormat, Sampling
from shared.contracts.ids import CompletionId, SessionId, UserId


@dataclass(frozen=True)
class Order:
    """What a client wants, in plain values, validated."""

    completion_id: CompletionId
    created_at: datetime
    user_id: UserId
    model: str
    messages: Sequence[Message]
    sampling: Sampling = field(default_factory=Sampling)
    tools: Sequence[FunctionTool] = ()
    response_format: ResponseFormat = field(default_factory=ResponseFormat)
    include_usage: bool = False
    session_id: SessionId | None = None
    resumes: bool = False
    """The client asked for an answer that it can come back to."""

    keyed: bool = False
    """It has an idempotency key: its client may come again with it."""

    @property
    def resumable(self) -> bool:
        """Whether the answer goes on for a grace when its client has gone."""
        return self.resumes or self.keyed or self.session_id is not None


@dataclass(frozen=True)
class Patience:
    """How long and how much a completion may take, in seconds and bytes."""

    waiting: float
    generating: float
    silence: float
    mailbox_bytes: int
    grace: float


@dataclass(frozen=True)
class Timing:
    """The rhythm of a streamed answer, in seconds."""

    header_hold: float
    ping_interval: float
    send_timeout: float
