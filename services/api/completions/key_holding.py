"""A completion ends with the key that it was begun with, or with everything of its user."""

from collections.abc import Callable

import structlog

from services.api.access.presence import Presence
from services.api.background import Background
from services.api.completions.cancellations import Cancellations
from services.api.completions.orders import Order
from shared.contracts.ids import CompletionId
from shared.errors import BrokerUnavailable

log = structlog.stdlib.get_logger(__name__)


class KeyHolding:
    """Follows keys from the start of completions to their ends, whoever still reads them."""

    def __init__(
        self, presence: Presence, cancellations: Cancellations, background: Background
    ) -> None:
        self._presence = presence
        self._cancellations = cancellations
        self._background = background

    def hold(self, order: Order) -> Callable[[], None]:
        """Stop this completion when its caller has to go, or at once if the key was revoked.

        Returns:
            To be called when the completion is over.
        """
        caller = order.caller
        if caller is None:
            return lambda: None

        def gone() -> None:
            self._background.spawn(self._stop(order.completion_id), "cancel-of-revoked-key")

        visit = self._presence.enter(caller, gone)
        return lambda: self._presence.leave(caller, visit)

    async def _stop(self, completion_id: CompletionId) -> None:
        try:
            # Not at its user's wish: who asks again with another key gets a new answer.
            await self._cancellations.stop(completion_id, asked=False)
        except BrokerUnavailable:
            log.warning("completion_of_revoked_key_goes_on", completion_id=completion_id)
