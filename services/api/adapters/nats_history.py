"""``History`` by core requests to whichever history service is free."""

import asyncio
import json
from typing import Final

import nats.errors
from nats.aio.client import Client
from pydantic import ValidationError

from shared.contracts import session_questions as asked
from shared.contracts import subjects
from shared.contracts.audit import ACTOR
from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    GetSession,
    ListSessions,
    Session,
    SessionDetail,
    SessionHead,
    SessionHeadQuery,
    SessionPage,
    SessionReply,
    UpdateSession,
)
from shared.contracts.history_health import HealthQuery, HistoryHealth
from shared.contracts.imports import packed
from shared.contracts.questions import Q, Question, R
from shared.contracts.wire import WireModel
from shared.errors import HistoryUnavailable, PayloadTooLarge, SessionNotFound, error_from
from shared.messaging.lost import LOST
from shared.observability import audit

_PROMPT: Final = 3.0
"""Seconds: history itself gives an operation 2.5 s and then says why it failed."""
_PATIENT: Final = 5.0
"""For what may first wait until an event has been stored."""


class NatsHistory:
    """One request, one reply; an ``error`` in a reply is raised as what it says."""

    def __init__(self, client: Client, *, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    async def list_sessions(self, query: ListSessions) -> SessionPage:
        """A page of sessions."""
        return await self.ask(asked.LIST_SESSIONS, query)

    async def create_session(self, command: CreateSession) -> Session:
        """A new session."""
        return _session(await self.ask(asked.CREATE_SESSION, command))

    async def get_session(self, query: GetSession) -> SessionDetail:
        """A session and a page of its messages."""
        return await self.ask(asked.GET_SESSION, query)

    async def update_session(self, command: UpdateSession) -> SessionReply:
        """A session with another title."""
        return await self.ask(asked.UPDATE_SESSION, command)

    async def delete_session(self, command: DeleteSession) -> None:
        """Remove it from sight."""
        await self.ask(asked.DELETE_SESSION, command)

    async def session_head(self, query: SessionHeadQuery) -> SessionHead:
        """Where the next turn goes."""
        return await self.ask(asked.SESSION_HEAD, query)

    async def health(self) -> HistoryHealth:
        """How it is."""
        return await self.ask(asked.HEALTH, HealthQuery())

    async def ask(self, question: Question[Q, R], query: Q) -> R:
        """Any question; see ``Asking``."""
        if not self._client.is_connected:
            raise HistoryUnavailable("The message broker is away, and history behind it.")
        data = await self._data(query) if question.bulky else query.to_bytes()
        timeout = max(self._timeout, _PATIENT if question.patient else _PROMPT)
        try:
            message = await self._client.request(
                subjects.history(question.name),
                data,
                timeout=timeout,
                headers=_actor() if question.audited else None,
            )
            answer = question.reply.from_bytes(message.data)
        except nats.errors.NoRespondersError as error:
            raise HistoryUnavailable("No history service is running.") from error
        except nats.errors.MaxPayloadError as error:
            raise self._too_large(len(data)) from error
        except LOST as error:
            raise HistoryUnavailable("The history service did not answer in time.") from error
        except ValidationError as error:
            raise HistoryUnavailable("The history service sent a reply of no shape.") from error
        if answer.error is not None:
            raise error_from(answer.error.code, answer.error.message, answer.error.param)
        return answer

    async def _data(self, query: WireModel) -> bytes:
        data = await asyncio.to_thread(query.to_bytes)
        if len(data) <= self._client.max_payload:
            return data
        return await asyncio.to_thread(packed, [data])

    def _too_large(self, size: int) -> PayloadTooLarge:
        carried = self._client.max_payload
        message = f"On its way to history this has {size} bytes; the broker carries {carried}."
        return PayloadTooLarge(message)


def _actor() -> dict[str, str] | None:
    actor = audit.ACTOR.get()
    # Not the model's own JSON: a header is ASCII.
    return {ACTOR: json.dumps(actor.model_dump(exclude_none=True))} if actor else None


def _session(reply: SessionReply) -> Session:
    if reply.session is None:
        raise SessionNotFound("This session does not exist.", param="session_id")
    return reply.session
