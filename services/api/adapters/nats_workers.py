"""``Workers`` by core requests: *no responders* is an answer too."""

from typing import Final

import nats.errors
from nats.aio.client import Client

from services.api.ports.broker import Heard, Service
from shared.contracts import subjects
from shared.contracts.ids import CompletionId
from shared.contracts.workers import ControlRequest
from shared.errors import BrokerUnavailable
from shared.messaging.asking import ask_workers
from shared.messaging.lost import LOST

_TIMEOUT: Final = 0.3


class NatsWorkers:
    """Asks workers directly; each call ends within 0.3 s."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def probe(self, model: str) -> Service:
        """Ask who serves ``model``."""
        return {
            Heard.YES: Service.SERVED,
            Heard.NOBODY: Service.NOBODY,
            Heard.SILENT: Service.SILENT,
        }[await self._ask(subjects.workers(model), b"")]

    async def cancel(self, completion_id: CompletionId) -> Heard:
        """Ask whoever runs the completion to stop."""
        request = ControlRequest(op="cancel")
        return await self._ask(subjects.control(completion_id), request.to_bytes())

    async def resend(self, completion_id: CompletionId, after: int) -> Heard:
        """Ask whoever runs the completion for a snapshot as a frame."""
        request = ControlRequest(op="resend", after=after)
        return await self._ask(subjects.control(completion_id), request.to_bytes())

    async def _ask(self, subject: str, payload: bytes) -> Heard:
        if not self._client.is_connected:
            raise BrokerUnavailable("NATS is not connected.")
        try:
            await ask_workers(self._client, subject, payload, timeout=_TIMEOUT)
        except nats.errors.NoRespondersError:
            return Heard.NOBODY
        except nats.errors.TimeoutError as error:
            if not self._client.is_connected:
                raise BrokerUnavailable("NATS went away.") from error
            return Heard.SILENT
        except LOST as error:
            raise BrokerUnavailable("NATS did not answer.") from error
        return Heard.YES
