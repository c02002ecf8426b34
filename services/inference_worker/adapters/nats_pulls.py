"""Pull requests to JetStream, one message each, which can be withdrawn without losing a job.

Raw ``$JS.API.CONSUMER.MSG.NEXT``: the server forgets a pull request whose inbox nobody listens to
any more, so every pull has an inbox of its own. Before the server has seen the end of that
interest a job may still be on its way, so nobody may stop listening on this side first.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from services.inference_worker.adapters.nats_job import NatsJob
from services.inference_worker.dispatch import PullEnd
from services.inference_worker.lanes import Source
from services.inference_worker.ports import Job
from shared.contracts import streams
from shared.contracts.jetstream_api import API, consumer_next
from shared.messaging.copies import is_copy
from shared.messaging.lost import LOST
from shared.messaging.subscriptions import PROBE

_GRACE: Final = 2.0
_RECONNECT_CHECK: Final = 0.25
_STATUS: Final = "Status"
_KEEPALIVE: Final = "100"
_NOTHING: Final = frozenset({"404", "408"})

Take = Callable[[Source, Job], bool]

log = structlog.stdlib.get_logger(__name__)


class NatsPulls:
    """``Puller`` on the raw client."""

    def __init__(self, client: Client, *, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._pulls: set[_Pull] = set()

    async def pull(self, source: Source, take: Take, *, wait: float | None) -> PullEnd:
        """Ask ``source`` for one request; see ``Puller``."""
        pull = _Pull(self._client, source, take, self._timeout)
        self._pulls.add(pull)
        try:
            return await pull.run(wait)
        except LOST as error:
            log.warning("pull_failed", error=str(error) or type(error).__name__)
            return PullEnd.MISSING
        finally:
            self._pulls.discard(pull)

    async def watch_reconnects(self) -> None:
        """End all pulls after a reconnect, until cancelled: the server has forgotten them."""
        reconnects = self._client.stats["reconnects"]
        while True:
            await asyncio.sleep(_RECONNECT_CHECK)
            if self._client.stats["reconnects"] != reconnects:
                reconnects = self._client.stats["reconnects"]
                for pull in self._pulls:
                    pull.end(PullEnd.EMPTY)


class _Pull:
    def __init__(self, client: Client, source: Source, take: Take, timeout: float) -> None:
        self._client = client
        self._source = source
        self._take = take
        self._timeout = timeout
        self._inbox = client.new_inbox()
        self._ended: asyncio.Future[PullEnd] = asyncio.get_running_loop().create_future()

    def end(self, how: PullEnd) -> None:
        if not self._ended.done():
            self._ended.set_result(how)

    async def run(self, wait: float | None) -> PullEnd:
        subscription = await self._client.subscribe(self._inbox, cb=self._receive)
        body = {"batch": 1, "no_wait": True}
        if wait is not None:
            body = {"batch": 1, "expires": int(wait * 1e9)}
        try:
            durable = streams.request_consumer(self._source.model, self._source.lane)
            await self._client.publish(
                API + consumer_next(streams.REQUESTS, durable),
                json.dumps(body).encode(),
                reply=self._inbox,
            )
            async with asyncio.timeout((wait or 0.0) + _GRACE):
                return await asyncio.shield(self._ended)
        except TimeoutError:
            # The server has lost the pull: a re-created consumer, a change of leader.
            return PullEnd.EMPTY
        finally:
            await self._withdraw(subscription)

    async def _withdraw(self, subscription: Subscription) -> None:
        """Stop listening, the server first.

        ``unsubscribe(limit=1)`` tells the server to end the interest with the next message, which
        is a probe of ours, unless a job is faster: that one is given back by ``_receive``. A plain
        ``unsubscribe()`` drops a job that is on its way, for a whole ack wait.
        """
        with suppress(*LOST):
            if subscription.delivered:
                # It is with ``_receive``: unsubscribing now would throw it away.
                await asyncio.wait({self._ended}, timeout=_GRACE)
            if self._ended.done():
                await subscription.unsubscribe()
                return
            await subscription.unsubscribe(limit=1)
            await self._client.publish(self._inbox, b"", headers={PROBE: "1"})

    async def _receive(self, message: Msg) -> None:
        headers = message.headers or {}
        if PROBE in headers:
            return
        status = headers.get(_STATUS)
        if status is not None:
            if status != _KEEPALIVE:
                self.end(PullEnd.EMPTY if status in _NOTHING else PullEnd.MISSING)
            return
        job = NatsJob(
            self._client,
            message,
            ack_wait=self._source.ack_wait,
            pulled_at=time.monotonic(),
            timeout=self._timeout,
        )
        if is_copy(headers):
            log.error("copy_refused", subject=message.subject)
            await job.drop()
            self.end(PullEnd.EMPTY)
            return
        if not self._take(self._source, job):
            await job.give_back()
        self.end(PullEnd.JOB)
