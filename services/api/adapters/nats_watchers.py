"""``Watchers`` on ``chat.watched.<id>``: core messages that nobody keeps."""

from collections.abc import Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from shared.contracts import subjects
from shared.contracts.ids import CompletionId
from shared.contracts.workers import Watched
from shared.errors import BrokerUnavailable
from shared.messaging.lost import LOST
from shared.messaging.subscriptions import ProvenSubscription

log = structlog.stdlib.get_logger(__name__)


class NatsWatchers:
    """Says and hears which gateways have viewers."""

    def __init__(self, client: Client, gateway_id: str) -> None:
        self._client = client
        self._gateway_id = gateway_id
        self._viewer = Watched(gateway=gateway_id).to_bytes()
        self._grace = Watched(gateway=gateway_id, grace=True).to_bytes()

    async def say(self, completion_id: CompletionId, *, grace: bool) -> None:
        """This gateway has a viewer, or had one."""
        # The client would keep it, and say it when it may no longer be true.
        if not self._client.is_connected:
            raise BrokerUnavailable("NATS is not connected.")
        try:
            payload = self._grace if grace else self._viewer
            await self._client.publish(subjects.watched(completion_id), payload)
        except LOST as error:
            raise BrokerUnavailable("NATS did not take a message.") from error

    async def listen(
        self, completion_id: CompletionId, heard: Callable[[], None]
    ) -> ProvenSubscription:
        """Call ``heard`` whenever another gateway says that it has a viewer."""

        async def receive(message: Msg) -> None:
            try:
                watched = Watched.from_bytes(message.data)
            except ValidationError:
                log.warning("watched_malformed", subject=message.subject)
                return
            if watched.gateway != self._gateway_id and not watched.grace:
                heard()

        listening = ProvenSubscription(self._client, subjects.watched(completion_id), receive)
        await listening.open()
        return listening
