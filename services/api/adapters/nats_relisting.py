"""``Relisting`` by one core request that every worker answers: replies come to an inbox."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from shared.contracts import subjects
from shared.contracts.workers import EngineRelisted
from shared.errors import BrokerUnavailable
from shared.messaging.lost import LOST

_NO_RESPONDERS: Final = "503"

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
            if not message.data and (message.headers or {}).get("Status") == _NO_RESPONDERS:
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

        inbox = self._client.new_inbox()
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
