"""The control subject of a running completion, on a proven subscription."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from shared.contracts import subjects
from shared.contracts.ids import CompletionId
from shared.contracts.workers import ControlReply, ControlRequest
from shared.messaging.subscriptions import ProvenSubscription

log = structlog.stdlib.get_logger(__name__)


class NatsControl:
    """``Control`` over core requests; *no responders* tells the asker that nobody runs it."""

    def __init__(self, client: Client, *, timeout: float) -> None:
        self._client = client
        self._timeout = timeout

    @asynccontextmanager
    async def listen(
        self,
        completion_id: CompletionId,
        on_cancel: Callable[[], None],
        last_index: Callable[[], int],
    ) -> AsyncGenerator[None]:
        """Answer while open; see ``Control``."""

        async def answer(message: Msg) -> None:
            ok = self._obey(message, on_cancel)
            reply = ControlReply(ok=ok, completion_id=completion_id, last_index=last_index())
            if message.reply:
                await self._client.publish(message.reply, reply.to_bytes())

        subscription = ProvenSubscription(self._client, subjects.control(completion_id), answer)
        await subscription.open(timeout=self._timeout)
        try:
            yield
        finally:
            await subscription.close()

    def _obey(self, message: Msg, on_cancel: Callable[[], None]) -> bool:
        try:
            request = ControlRequest.from_bytes(message.data)
        except ValidationError:
            # An operation of a newer peer; the reply says that it is unknown here.
            return False
        if request.op == "cancel":
            # Registered before the reply goes out: who has the reply knows that it will stop.
            on_cancel()
            return True
        return request.op == "watched"
