"""``Relisting`` by one core request that every worker answers: replies come to an inbox."""

import asyncio
from collections.abc import Collection
from contextlib import suppress

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from shared.contracts import subjects
from shared.contracts.workers import EngineRelisted
from shared.errors import BrokerUnavailable
from shared.messaging.asking import is_nobody, new_answer_inbox
from shared.messaging.lost import LOST

log = structlog.stdlib.get_logger(__name__)


class NatsRelisting:
    """Asks workers directly; *no responders* means that there are none."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def relist(self, expected: Collection[str], *, timeout: float) -> list[EngineRelisted]:
        """See ``Relisting``."""
        if not self._client.is_connected:
            raise BrokerUnavailable("NATS is not connected.")
        replies: dict[str, EngineRelisted] = {}
        complete = asyncio.Event()

        async def receive(message: Msg) -> None:
            if is_nobody(message):
                complete.set()
                return
            try:
                reply = EngineRelisted.from_bytes(message.data)
            except ValidationError:
                log.warning("relisted_malformed")
                return
            replies[reply.worker_id] = reply
            if replies.keys() >= set(expected):
                complete.set()

        inbox = new_answer_inbox()
        try:
            subscription = await self._client.subscribe(inbox, cb=receive)
            try:
                await self._client.publish(subjects.SYNC, b"", reply=inbox)
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await complete.wait()
            finally:
                with suppress(*LOST):  # closed: it goes with the connection
                    await subscription.unsubscribe()
        except LOST as error:
            raise BrokerUnavailable("NATS did not take the request.") from error
        return list(replies.values())
