"""Ask a worker to say again what the broker has lost."""

from collections.abc import Callable

import structlog

from services.api.background import Background
from services.api.ports.broker import Workers
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)


class Resending:
    """Asks in the background: the answer is a frame, not a reply."""

    def __init__(self, workers: Workers, background: Background) -> None:
        self._workers = workers
        self._background = background

    def of(self, completion_id: CompletionId) -> Callable[[int], None]:
        """A function that asks for what follows an index of this completion."""

        def ask(after: int) -> None:
            self._background.spawn(self._ask(completion_id, after), "ask-to-resend")

        return ask

    async def _ask(self, completion_id: CompletionId, after: int) -> None:
        try:
            heard = await self._workers.resend(completion_id, after)
        except BrokerUnavailable:
            return
        log.info("resend_asked", completion_id=completion_id, after=after, heard=heard.name)
