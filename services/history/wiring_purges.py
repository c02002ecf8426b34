"""The removal of users over MongoDB and NATS: plain construction, and its two loops."""

import time
from asyncio import sleep
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import uuid4

from services.history.adapters.mongo_client import Database
from services.history.adapters.mongo_keys import MongoKeyStore
from services.history.adapters.mongo_users import MongoUserStore
from services.history.adapters.nats_key_copies import NatsKeyCopies
from services.history.adapters.nats_traces import NatsPurgeWords, NatsTraces
from services.history.background import Background, again_and_again, until_done
from services.history.purge_holding import Holding
from services.history.purge_telling import PurgeTelling
from services.history.user_ports import PurgeMarks
from services.history.user_purging import UserPurging
from services.history.user_sweeping import Sweeping
from shared.clock import utc_now
from shared.messaging.jetstream import JetStream

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks for users whose data is to go."""
_MEND_EVERY: Final = 30.0
_RETRY: Final = 0.5


class Purges:
    """What removes users, and what tells of it."""

    def __init__(
        self, marks: PurgeMarks, database: Database, jetstream: JetStream, *, slack: timedelta
    ) -> None:
        """Over these stores; ``slack`` is how much clocks of gateways may differ."""
        words = NatsPurgeWords(jetstream)
        self.telling = PurgeTelling(marks, words)
        self.purging = UserPurging(
            marks,
            words,
            Sweeping(
                marks,
                MongoUserStore(database),
                MongoKeyStore(database),
                NatsKeyCopies(jetstream),
                NatsTraces(jetstream),
                now=utc_now,
            ),
            Holding(marks, name=uuid4().hex, clock=time.monotonic),
            slack=slack,
            now=utc_now,
            clock=time.monotonic,
        )

    def start(self, background: Background) -> None:
        """Start both loops."""
        background.start("history-users", self._remove())
        background.start("history-purge-words", self._mend())

    async def _remove(self) -> None:
        try:
            due = partial(self.purging.due, _LOOK_EVERY)
            await again_and_again("purge-users", self.purging.work, due)
        finally:
            # While there still is a broker.
            await self.purging.stop()

    async def _mend(self) -> None:
        # At once: whose purge ended when the last process did would be refused until then.
        await until_done("purge-words", self.telling.mend, pause=_RETRY)
        await again_and_again("purge-words", self.telling.mend, partial(sleep, _MEND_EVERY))
