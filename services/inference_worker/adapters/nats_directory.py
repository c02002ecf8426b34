"""The worker's entries in the catalog, and its request to whoever provisions queues."""

from typing import Final

import nats.errors
from nats.aio.client import Client
from pydantic import ValidationError

from shared.contracts import streams, subjects
from shared.contracts.workers import Provisioned, ProvisionModel, WorkerAnnouncement
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import ApiError, JetStream

_ANNOUNCED_FOR: Final = 12
_REMEMBERED_FOR: Final = 24 * 3600


class NatsDirectory:
    """``Directory`` on KV ``catalog`` and ``chat.provision.model``."""

    def __init__(self, client: Client, jetstream: JetStream, *, timeout: float) -> None:
        self._client = client
        self._catalog = Bucket(jetstream, streams.CATALOG)
        self._timeout = timeout

    async def provision(self, model: str) -> float:
        """Ask for the durables; gives the ack wait that the broker really applies."""
        request = ProvisionModel(model=model).to_bytes()
        try:
            message = await self._client.request(
                subjects.PROVISION_MODEL, request, timeout=self._timeout
            )
            reply = Provisioned.from_bytes(message.data)
        except (nats.errors.Error, OSError, ValidationError) as error:
            raise BrokerUnavailable("Nobody provisions queues.") from error
        if not reply.ok or reply.ack_wait is None:
            raise BrokerUnavailable(reply.error or "The queues could not be provisioned.")
        return reply.ack_wait.total_seconds()

    async def announce(self, announcement: WorkerAnnouncement) -> None:
        """Put ``worker.<id>``."""
        await self._put(_entry(announcement.worker_id), announcement.to_bytes(), _ANNOUNCED_FOR)

    async def remember(self, model: str) -> None:
        """Put ``model.<slug>``."""
        key = f"model.{subjects.model_slug(model)}"
        await self._put(key, model.encode(), _REMEMBERED_FOR)

    async def withdraw(self, worker_id: str) -> None:
        """Purge ``worker.<id>``."""
        try:
            await self._catalog.purge(_entry(worker_id))
        except ApiError as error:
            raise BrokerUnavailable(str(error)) from error

    async def _put(self, key: str, value: bytes, ttl: int) -> None:
        try:
            await self._catalog.put(key, value, ttl=ttl)
        except ApiError as error:
            raise BrokerUnavailable(str(error)) from error


def _entry(worker_id: str) -> str:
    return f"worker.{worker_id}"
