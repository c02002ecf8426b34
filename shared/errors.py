"""What can go wrong, once, with stable codes; only the gateway knows the HTTP status of each.

ChatError
├── InvalidRequest
│   ├── ContextLengthExceeded
│   └── PayloadTooLarge
├── ModelNotFound
├── SessionNotFound
├── CompletionNotFound
├── FramesGone
├── KeyReused
├── KeyNotFound
├── UserLeaving
├── SessionBusy
├── NoWorker
├── QueueFull
├── RateLimited
├── DeadlineExceeded
├── Cancelled
├── WorkerLost
├── EngineError
│   ├── EngineUnavailable
│   ├── EngineBusy
│   └── EngineTimeout
├── BrokerUnavailable
├── HistoryUnavailable
├── HistoryBacklog
├── GatewayBusy
└── ServerShutdown
"""

from typing import ClassVar


class ChatError(Exception):
    """The root: ``code`` is stable and machine-readable, ``message`` is for people.

    ``param`` names the offending request field, where there is one.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(ChatError):
    """The request is malformed or out of range; repeating it unchanged cannot help."""

    code = "invalid_request"


class KeyNotFound(ChatError):
    """There is no such API key."""

    code = "key_not_found"


class UserLeaving(ChatError):
    """Everything of this user is being removed: what is made for them now would go with it."""

    code = "user_leaving"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit the window that the engine has loaded."""

    code = "context_length_exceeded"


class PayloadTooLarge(InvalidRequest):
    """The request is larger than the body limit or than what the broker carries."""

    code = "request_too_large"


class ModelNotFound(ChatError):
    """No worker has offered this model in the last 24 hours."""

    code = "model_not_found"


class SessionNotFound(ChatError):
    """The session does not exist or belongs to somebody else: the two look alike on purpose."""

    code = "session_not_found"


class MessageNotFound(ChatError):
    """There is no such message in this session."""

    code = "message_not_found"


class PresetNotFound(ChatError):
    """The preset does not exist or is private to somebody else: the two look alike on purpose."""

    code = "preset_not_found"


class VersionConflict(ChatError):
    """Somebody else has changed it since it was read."""

    code = "version_conflict"


class CompletionNotFound(ChatError):
    """The completion does not exist or belongs to somebody else: the two look alike on purpose."""

    code = "completion_not_found"


class FramesGone(ChatError):
    """The completion is over and its stream is no longer kept; its answer may be read whole."""

    code = "stream_gone"


class KeyReused(ChatError):
    """An idempotency key came again with another request."""

    code = "idempotency_key_reused"


class SessionBusy(ChatError):
    """A session runs one turn at a time."""

    code = "session_busy"


class NoWorker(ChatError):
    """The model is known, but nobody serves it at the moment."""

    code = "no_worker"


class QueueFull(ChatError):
    """The model's queue holds as many requests as it may."""

    code = "queue_full"


class RateLimited(ChatError):
    """The caller has used what it may; ``retry_after`` is in seconds, where that is known."""

    code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        kind: str = "requests",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.kind = kind
        self.retry_after = retry_after


class DeadlineExceeded(ChatError):
    """The request waited or generated longer than it may."""

    code = "deadline_exceeded"


class Cancelled(ChatError):
    """Somebody stopped the completion."""

    code = "cancelled"


class WorkerLost(ChatError):
    """The worker vanished in the middle of an answer that cannot be continued."""

    code = "worker_lost"


class EngineError(ChatError):
    """The engine answered with an error or broke its protocol."""

    code = "engine_error"


class EngineUnavailable(EngineError):
    """The engine cannot be reached."""

    code = "engine_unavailable"


class EngineBusy(EngineError):
    """The engine's own queue is full."""

    code = "engine_busy"


class EngineTimeout(EngineError):
    """The engine accepted the request and then went quiet."""

    code = "engine_timeout"


class BrokerUnavailable(ChatError):
    """NATS cannot be reached or did not answer in time."""

    code = "broker_unavailable"


class HistoryUnavailable(ChatError):
    """The history service or its database cannot be reached."""

    code = "history_unavailable"


class HistoryBacklog(ChatError):
    """Too many events wait for the history service; new work would be lost."""

    code = "history_backlog"


class GatewayBusy(ChatError):
    """This gateway does as much of that kind as it can; later, or at another one, it goes."""

    code = "gateway_busy"


class ServerShutdown(ChatError):
    """This process is stopping."""

    code = "server_shutdown"


def _tree(cls: type[ChatError]) -> list[type[ChatError]]:
    return [cls, *(leaf for sub in cls.__subclasses__() for leaf in _tree(sub))]


BY_CODE: dict[str, type[ChatError]] = {cls.code: cls for cls in _tree(ChatError)}


def error_from(code: str, message: str, param: str | None = None) -> ChatError:
    """Rebuild an error that crossed the wire; a code of a newer peer becomes a ``ChatError``."""
    return BY_CODE.get(code, ChatError)(message, param=param)
