"""The control subject of a running completion, on a proven subscription."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic import ValidationError

from services.inference_worker.ports import Asked
from shared.contracts import subjects
from shared.contracts.ids import CompletionId
from shared.contracts.workers import ControlReply, ControlRequest
from shared.errors import BrokerUnavailable
from shared.messaging.lost import LOST
from shared.messaging.subscriptions import ProvenSubscription

_CALL_OFF_TIMEOUT: Final = 0.75
"""Its successor's readers wait for it. What it says later, the takeover makes void."""
_LAST_REPLIES: Final = 1.0

log = structlog.stdlib.get_logger(__name__)


class NatsControl:
    """``Control`` over core requests; *no responders* tells the asker that nobody runs it."""

    def __init__(self, client: Client, *, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    @asynccontextmanager
    async def listen(self, completion_id: CompletionId, asked: Asked) -> AsyncGenerator[None]:
        """Answer while open; see ``Control``."""
        ear = _Ear(self._client, completion_id, asked)
        control = ProvenSubscription(self._client, subjects.control(completion_id), ear.hear)

        async def watched(_message: Msg) -> None:
            asked.watched()

        await control.open(timeout=self._timeout)
        try:
            # Not proven: it is said again every few seconds.
            viewers = await self._subscribe(subjects.watched(completion_id), watched)
            try:
                yield
            finally:
                await ear.close()
                with suppress(*LOST):  # closed or draining: it goes with the connection
                    await viewers.unsubscribe()
        finally:
            await control.close()

    async def _subscribe(
        self, subject: str, callback: Callable[[Msg], Awaitable[None]]
    ) -> Subscription:
        try:
            return await self._client.subscribe(subject, cb=callback)
        except LOST as error:
            raise BrokerUnavailable(str(error) or type(error).__name__) from error

    async def call_off(self, completion_id: CompletionId) -> None:
        """Ask for *yield*; nobody there, or somebody who hangs, is nobody to wait for."""
        request = ControlRequest(op="yield").to_bytes()
        try:
            reply = await self._client.request(
                subjects.control(completion_id), request, timeout=_CALL_OFF_TIMEOUT
            )
        except nats.errors.NoRespondersError:
            return
        except nats.errors.TimeoutError:
            log.info("predecessor_silent", completion_id=completion_id)
        except LOST as error:
            raise BrokerUnavailable(str(error) or type(error).__name__) from error
        else:
            log.info("predecessor_called_off", reply=reply.data.decode(errors="replace"))


class _Ear:
    """Obeys the requests for one completion, and replies."""

    def __init__(self, client: Client, completion_id: CompletionId, asked: Asked) -> None:
        self._client = client
        self._id = completion_id
        self._asked = asked
        self._slow: set[asyncio.Task[None]] = set()

    async def hear(self, message: Msg) -> None:
        """Take a request; one that takes its time does not hold up a cancel behind it."""
        try:
            op = ControlRequest.from_bytes(message.data).op
        except ValidationError:
            # An operation of a newer peer; the reply says that it is unknown here.
            await self._reply(message, ok=False)
            return
        if op == "yield":
            task = asyncio.create_task(self._yield(message), name=f"yield-{self._id}")
            self._slow.add(task)
            task.add_done_callback(self._slow.discard)
            return
        # Obeyed before the reply goes out: who has the reply knows that it will stop.
        if op == "cancel":
            self._asked.cancel()
        elif op == "watched":
            self._asked.watched()
        else:
            await self._asked.resend()
        await self._reply(message, ok=True)

    async def close(self) -> None:
        """Let replies that are due go out."""
        if self._slow:
            await asyncio.wait(list(self._slow), timeout=_LAST_REPLIES)

    async def _yield(self, message: Msg) -> None:
        ok = await self._asked.yield_to_successor()
        await self._reply(message, ok=ok)

    async def _reply(self, message: Msg, *, ok: bool) -> None:
        reply = ControlReply(ok=ok, completion_id=self._id, last_index=self._asked.last_index)
        if message.reply:
            await self._client.publish(message.reply, reply.to_bytes())
