"""JetStream as Parley uses it: publish once, read directly, delete; raw where nats-py lacks it."""

import base64
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.contracts.jetstream_api import API, direct_get, message_delete, message_get
from shared.errors import BrokerUnavailable
from shared.messaging.lost import LOST

log = structlog.stdlib.get_logger(__name__)

WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
LIMIT_REACHED: Final = 10077
NOT_FOUND: Final = frozenset({10014, 10037, 10043, 10057, 10059})
TTL: Final = "Nats-TTL"
_NO_RESPONDERS: Final = "503"
_PENDING: Final = "Nats-Num-Pending"
EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"


class ApiError(Exception):
    """JetStream refused; ``err_code`` is the server's own number for the reason."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({code}, {err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


class AlreadyPublished(ApiError):
    """Another revision stands where this publish expected its predecessor."""


class LimitReached(ApiError):
    """The stream or the subject is full and discards what is new."""


class StoredMessage(NamedTuple):
    """A message as the stream keeps it."""

    subject: str
    sequence: int
    time: datetime
    """The broker's clock at publishing."""
    data: bytes
    headers: Mapping[str, str]


def _api_error(error: Mapping[str, Any]) -> ApiError:
    code, err_code = int(error.get("code", 500)), int(error.get("err_code", 0))
    kind = ApiError
    if err_code in WRONG_LAST_SEQUENCE:
        kind = AlreadyPublished
    elif err_code == LIMIT_REACHED or (code == 503 and "maximum" in str(error.get("description"))):
        kind = LimitReached
    return kind(code, err_code, str(error.get("description", "")))


class JetStream:
    """A thin typed layer over the raw client; every call ends within ``timeout`` seconds.

    Raises (every call):
        BrokerUnavailable: no answer in time, no JetStream, or the connection is closed.
        ApiError: the server refused.
    """

    def __init__(self, client: Client, *, timeout: float = 2.0) -> None:
        self._client = client
        self._timeout = timeout

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        expected_last: int | None = None,
        ttl: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Store a message and wait for the acknowledgement; gives its sequence number.

        Args:
            subject: A subject that a stream captures.
            payload: The bytes.
            expected_last: Sequence of the last message on this subject, 0 for none.
            ttl: Seconds after which the server drops it (rounded up to whole seconds).
            headers: Further headers.

        Raises:
            AlreadyPublished: ``expected_last`` does not hold.
            LimitReached: the stream or subject is full.
        """
        all_headers = dict(headers or {})
        if expected_last is not None:
            all_headers[EXPECTED_LAST] = str(expected_last)
        if ttl is not None:
            all_headers[TTL] = str(max(1, -int(-ttl // 1)))
        reply = _object(await self._request(subject, payload, all_headers or None))
        if "seq" not in reply:
            message = f"What answers on {subject} is no stream."
            raise BrokerUnavailable(message)
        return int(reply["seq"])

    async def publish_once(self, subject: str, payload: bytes) -> int:
        """Publish as the first message of its subject: first writer wins.

        A ``Nats-Msg-Id`` would only cover the stream's duplicate window of two minutes.

        Raises:
            AlreadyPublished: the subject has a message already.
        """
        return await self.publish(subject, payload, expected_last=0)

    async def last(self, stream: str, subject: str) -> StoredMessage | None:
        """The newest message of a subject, by Direct Get; ``None`` if there is none."""
        reply = await self._request(API + direct_get(stream, subject), b"")
        return _stored(reply)

    async def since(self, stream: str, time: datetime) -> StoredMessage | None:
        """The first message stored at or after ``time``; ``None`` if there is none."""
        query = {"start_time": time.isoformat(), "next_by_subj": ">"}
        reply = await self._request(API + direct_get(stream), json.dumps(query).encode())
        return _stored(reply)

    async def by_sequence(self, stream: str, sequence: int) -> StoredMessage | None:
        """The message with this sequence number; ``None`` if it is gone."""
        query = json.dumps({"seq": sequence}).encode()
        return _stored(await self._request(API + direct_get(stream), query))

    async def stored_head(self, stream: str, sequence: int) -> bytes:
        """The head of a message as it was stored, without what Direct Get adds to it.

        Raises:
            ApiError: the message is gone.
        """
        reply = await self.api(message_get(stream), {"seq": sequence})
        return base64.b64decode(reply["message"].get("hdrs", ""))

    async def replay(
        self, stream: str, subject: str, *, start: int = 1, batch: int = 256
    ) -> AsyncGenerator[StoredMessage]:
        """What the stream holds of ``subject`` from sequence ``start`` on, in order.

        Direct Get in batches (ADR-31), which nats-py does not wrap: an empty message with status
        204 ends a batch, 404 says that there is nothing. The server also ends a batch early, once
        it has sent 64 MB: only its count of what is pending says that nothing follows.
        """
        pending = True
        while pending:
            pending = False
            async with aclosing(self._batch(stream, subject, start, batch)) as messages:
                async for message in messages:
                    start = message.sequence + 1
                    pending = message.headers.get(_PENDING) != "0"
                    yield message

    async def delete(self, stream: str, sequence: int) -> bool:
        """Delete one message; ``False`` if it was gone already."""
        try:
            await self.api(message_delete(stream), {"seq": sequence})
        except ApiError as error:
            if error.err_code in NOT_FOUND:
                return False
            raise
        return True

    async def api(self, operation: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request to ``$JS.API.<operation>``; gives the reply's object."""
        payload = json.dumps(body).encode() if body is not None else b""
        return _object(await self._request(API + operation, payload))

    async def _batch(
        self, stream: str, subject: str, start: int, batch: int
    ) -> AsyncGenerator[StoredMessage]:
        inbox = self._client.new_inbox()
        subscription: Subscription | None = None
        try:
            subscription = await self._client.subscribe(inbox)
            query = {"seq": start, "batch": batch, "next_by_subj": subject}
            await self._client.publish(
                API + direct_get(stream), json.dumps(query).encode(), reply=inbox
            )
            while True:
                message = _stored(await subscription.next_msg(timeout=self._timeout))
                if message is None:
                    return
                yield message
        except LOST as error:
            raise _unavailable(error) from error
        finally:
            if subscription is not None:
                with suppress(*LOST):  # closed or draining: it goes with the connection
                    await subscription.unsubscribe()

    async def _request(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None
    ) -> Msg:
        try:
            return await self._client.request(
                subject, payload, timeout=self._timeout, headers=headers
            )
        except LOST as error:
            raise _unavailable(error) from error


def _unavailable(error: Exception) -> BrokerUnavailable:
    log.info("nats_did_not_answer", error=str(error) or type(error).__name__)
    return BrokerUnavailable("NATS did not answer.")


def _object(message: Msg) -> dict[str, Any]:
    """The object in a reply of JetStream's; raises its refusal."""
    try:
        reply = json.loads(message.data)
    except ValueError as error:
        raise _unavailable(error) from error
    if not isinstance(reply, dict):
        raise BrokerUnavailable("What NATS answered is not of JetStream.")
    if "error" in reply:
        raise _api_error(reply["error"])
    return reply


def _stored(message: Msg) -> StoredMessage | None:
    headers = message.headers or {}
    status = headers.get("Status")
    if status in {"404", "204"}:
        return None
    if status == _NO_RESPONDERS:
        raise _unavailable(nats.errors.NoRespondersError())
    if status is not None:
        raise ApiError(int(status), 0, headers.get("Description", ""))
    return StoredMessage(
        headers["Nats-Subject"],
        int(headers["Nats-Sequence"]),
        datetime.fromisoformat(headers["Nats-Time-Stamp"]),
        message.data,
        headers,
    )
