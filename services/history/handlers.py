"""The queries and commands of ``chat.history.*``: parse, call one use case, always answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog
from faststream.nats import NatsMessage, NatsRouter
from faststream.nats.annotations import NatsMessage as MessageDep
from pydantic import ValidationError

from services.history.acts import Act
from services.history.ports import TooLargeForStore
from shared.contracts import streams, subjects
from shared.contracts.audit import ACTOR, Actor
from shared.contracts.chat import Failure
from shared.contracts.history import Reply
from shared.contracts.identities import is_inbox
from shared.contracts.questions import Question
from shared.contracts.wire import WireModel
from shared.errors import ChatError, HistoryUnavailable, InvalidRequest, PayloadTooLarge
from shared.messaging.copies import is_copy
from shared.observability import audit

_PROMPT: Final = 2.5
"""Seconds for an operation that only asks the database."""
_PATIENT: Final = 4.5
"""Seconds for one that may first wait for events to be stored."""
_SLACK: Final = 64 * 1024
"""What a reply leaves of the broker's largest message for headers."""

_Q = TypeVar("_Q", bound=WireModel)
_R = TypeVar("_R", bound=Reply)

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Operation(Generic[_Q, _R]):
    """A question and who answers it."""

    question: Question[_Q, _R]
    use_case: Callable[[_Q], Awaitable[_R]]
    deadline: float | None = None
    """Seconds; ``None`` is what the question allows."""
    act: Callable[[_Q, _R | None], Act | None] | None = None
    """What the audit says of it; without a reply where it has failed."""

    async def answer(self, body: bytes, max_payload: int, actor: Actor | None = None) -> bytes:
        """The reply to one message: whatever goes wrong is in it."""
        try:
            data = (await self._ask(await self._parse(body), actor)).to_bytes()
            _check_size(len(data), max_payload)
        except ChatError as error:
            return self._failure(error.code, error.message, error.param)
        except TooLargeForStore:
            # Here, not at each use case: whatever is stored for somebody may be too large.
            return self._failure(PayloadTooLarge.code, "A message is too large for the database.")
        except Exception:
            log.exception("query_failed", operation=self.question.name)
            return self._failure(ChatError.code, "The history service failed.")
        return data

    async def _parse(self, body: bytes) -> _Q:
        read = self.question.query.from_bytes
        try:
            return await asyncio.to_thread(read, body) if self.question.bulky else read(body)
        except ValidationError as error:
            # Not the whole error: it quotes what was sent.
            place = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
            message = f"This is no {self.question.query.__name__}: see {place or 'its body'}."
            raise InvalidRequest(message, param=place or None) from error

    async def _ask(self, query: _Q, actor: Actor | None) -> _R:
        try:
            async with asyncio.timeout(self.deadline or self._allowed):
                reply = await self.use_case(query)
        except TimeoutError as error:
            # It may have been done nevertheless.
            self._audit(query, None, actor, HistoryUnavailable.code)
            raise HistoryUnavailable("The database does not answer in time.") from error
        except Exception as error:
            code = error.code if isinstance(error, ChatError) else ChatError.code
            self._audit(query, None, actor, code)
            raise
        self._audit(query, reply, actor, audit.DONE)
        return reply

    def _audit(self, query: _Q, reply: _R | None, actor: Actor | None, outcome: str) -> None:
        act = self.act(query, reply) if self.act is not None else None
        if act is not None:
            audit.record(act.action, actor=actor, target=act.target, user=act.user, outcome=outcome)

    @property
    def _allowed(self) -> float:
        return _PATIENT if self.question.patient else _PROMPT

    def _failure(self, code: str, message: str, param: str | None = None) -> bytes:
        failure = Failure(code=code, message=message, param=param)
        return self.question.reply(error=failure).to_bytes()


def build_router(
    answered: Sequence[Operation[Any, Any]], *, workers: int, max_payload: Callable[[], int]
) -> NatsRouter:
    """Subscribe to every operation; ``max_payload`` is asked at each reply, it may change."""
    router = NatsRouter()
    for operation in answered:
        router.subscriber(
            subjects.history(operation.question.name),
            streams.HISTORY_QUEUE_GROUP,
            # nats-py calls one at a time: a slow query would hold up those behind it.
            max_workers=workers,
            decoder=_undecoded,
        )(_handler(operation, max_payload))
    return router


def _handler(
    operation: Operation[Any, Any], max_payload: Callable[[], int]
) -> Callable[[bytes, NatsMessage], Awaitable[bytes]]:
    async def handle(body: bytes, message: MessageDep) -> bytes:
        actor = _actor_of(message) if operation.question.audited else None
        return await operation.answer(body, max_payload(), actor)

    return handle


def _actor_of(message: NatsMessage) -> Actor | None:
    said = message.headers.get(ACTOR)
    try:
        return Actor.from_bytes(said.encode()) if said else None
    except ValidationError:
        log.warning("actor_malformed")
        return None


async def _undecoded(message: NatsMessage) -> bytes:
    # A payload that FastStream cannot decode would get no answer at all.
    raw = message.raw_message
    # A question wants an answer. What the broker delivers where somebody has told it to, a copy or
    # a request out of the queue, does not come from an inbox.
    if is_copy(message.headers) or not is_inbox(raw.reply):
        log.error("copy_refused", subject=raw.subject)
        return b""
    return message.body


def _check_size(size: int, limit: int) -> None:
    if size > limit - _SLACK:
        message = f"The reply has {size} bytes; the broker carries {limit}."
        raise PayloadTooLarge(message)
