"""``Turns`` over the bucket of that name."""

from typing import Final

import structlog
from pydantic import ValidationError

from services.api.adapters.broker_errors import refusals_mean_unavailable
from services.api.ports.sessions import Held, TurnState
from shared.contracts import streams
from shared.contracts.ids import SessionId
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, JetStream

log = structlog.stdlib.get_logger(__name__)

_IDLE: Final = 24 * 3600.0


class NatsTurns:
    """Compare and set, with a time to live on every write."""

    def __init__(self, jetstream: JetStream, *, running: float) -> None:
        """Over the bucket.

        Args:
            jetstream: Where it is.
            running: Seconds within which every completion has ended, by whomever.
        """
        self._bucket = Bucket(jetstream, streams.TURNS)
        self._running = running

    async def get(self, session_id: SessionId) -> Held | None:
        """The entry, or ``None``."""
        with refusals_mean_unavailable():
            entry = await self._bucket.get(session_id)
        if entry is None:
            return None
        try:
            return Held(TurnState.from_bytes(entry.value), entry.revision, entry.age)
        except ValidationError:
            log.warning("turn_malformed", session_id=session_id)
            return None

    async def set(
        self, session_id: SessionId, state: TurnState, revision: int | None
    ) -> int | None:
        """Replace the entry of ``revision``; ``None`` if it has changed."""
        value = state.to_bytes()
        ttl = self._running if state.running is not None else _IDLE
        with refusals_mean_unavailable():
            try:
                if revision is None:
                    return await self._bucket.create(session_id, value, ttl=ttl)
                return await self._bucket.update(session_id, value, revision, ttl=ttl)
            except AlreadyPublished:
                return None
