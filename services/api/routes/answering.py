"""The part that streamed and whole answers share: admission against a client that may go."""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import replace

import structlog
from fastapi import Response
from starlette.types import Receive, Scope, Send

from services.api.background import Background
from services.api.completions.attaching import Reading, Starter
from services.api.completions.orders import Order
from services.api.completions.scope_keys import ANSWER_HEADERS
from services.api.metering import metered_of
from services.api.routes.client_watch import ClientWatch
from services.api.streams.delivery import Delivery
from shared.errors import Cancelled, ChatError

log = structlog.stdlib.get_logger(__name__)


class Answer(Response, ABC):
    """Runs a completion inside the response, so that it can watch the connection itself.

    A ``Response`` that calls ``send`` by itself passes through no body-wrapping layer.
    """

    def __init__(
        self,
        order: Order,
        *,
        completions: Starter,
        background: Background,
        delivery: Delivery | None,
    ) -> None:
        super().__init__()
        self._order = order
        self._completions = completions
        self._work = background
        self._delivery = delivery

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; raises a ``ChatError`` as long as nothing has been sent."""
        metered = metered_of(scope)
        if metered is not None:
            self._order = replace(self._order, caller=metered.caller)
        async with ClientWatch(receive) as client:
            running = await self._start(client)
            if running is None:
                return
            client.call_when_gone(running.wake)
            try:
                if metered is not None:
                    if running.levels is not None:
                        metered.started()
                    await metered.tell(running.levels)
                await self.answer(running, client, send)
            except ChatError as error:
                if running.begun and not isinstance(error, Cancelled):
                    # OpenAI's SDKs repeat a 5xx, and would run the same again. (A cancel says so
                    # of itself.)
                    scope[ANSWER_HEADERS].append((b"x-should-retry", b"false"))
                raise
            finally:
                running.abandon()

    @abstractmethod
    async def answer(self, running: Reading, client: ClientWatch, send: Send) -> None:
        """Send the answer."""

    async def _start(self, client: ClientWatch) -> Reading | None:
        # Never cancelled halfway: between its two durable facts somebody owes an end.
        starting = self._work.spawn(
            self._completions.start(self._order, self._delivery), "start-completion"
        )
        try:
            if await client.first(starting):
                return starting.result()
        except asyncio.CancelledError:
            self._work.spawn(_abandon(starting), "abandon-starting")
            raise
        log.info("client_gone", completion_id=self._order.completion_id, during="admission")
        self._work.spawn(_abandon(starting), "abandon-starting")
        return None


async def _abandon(starting: asyncio.Task[Reading]) -> None:
    try:
        running = await starting
    except ChatError:
        return
    running.abandon()
