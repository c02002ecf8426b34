"""Make what is missing, mend what differs: streams, buckets and consumers, through the raw API.

The raw API because nats-py 2.16 has no field for ``persist_mode``, and because creating through a
client's own defaults would silently reset limits (FastStream's ``JStream`` does).
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog

from shared.clock import utc_now
from shared.contracts import streams, subjects
from shared.contracts.jetstream_api import (
    consumer_create,
    consumer_info,
    stream_create,
    stream_info,
    stream_update,
)
from shared.contracts.streams import Capacity, StreamDefinition
from shared.messaging.jetstream import NOT_FOUND, ApiError, JetStream

log = structlog.stdlib.get_logger(__name__)

_IN_USE: Final = 10058
"""The name is that of a stream with another configuration."""


class Provisioner:
    """Idempotent: running it twice, or in two processes at once, changes nothing more."""

    def __init__(
        self, jetstream: JetStream, capacity: Capacity, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._jetstream = jetstream
        self._capacity = capacity
        self._now = now
        self._models: set[str] = set()

    async def provision(self) -> list[str]:
        """Bring all streams, buckets and known consumers to their definition.

        Returns:
            The names of what was created or changed; empty when all was right.

        Raises:
            BrokerUnavailable: no answer from JetStream.
            ApiError: the server refuses a definition; all others stand nevertheless.
        """
        changed = []
        refusals = []
        for name, ensure in self._definitions():
            try:
                if not await ensure():
                    continue
            except ApiError as error:
                refusals.append(
                    ApiError(error.code, error.err_code, f"{name}: {error.description}")
                )
                continue
            log.info("provisioned", name=name)
            changed.append(name)
        if refusals:
            raise refusals[0]
        return changed

    def _definitions(self) -> Iterator[tuple[str, Callable[[], Awaitable[bool]]]]:
        for definition in streams.definitions(self._capacity):
            yield definition.name, partial(self._ensure_stream, definition)
        consumers = [(streams.EVENTS, streams.history_consumer_config())]
        for model in sorted(self._models):
            consumers += [(streams.REQUESTS, config) for config in self._of_model(model)]
        for stream, config in consumers:
            yield str(config["durable_name"]), partial(self._ensure_consumer, stream, config)

    def _of_model(self, model: str) -> list[dict[str, Any]]:
        return [
            streams.request_consumer_config(model, lane, self._capacity.ack_wait)
            for lane in subjects.LANES
        ]

    async def provision_model(self, model: str) -> list[str]:
        """Make the durables of one model and keep them from now on; gives those that changed."""
        changed = [
            str(config["durable_name"])
            for config in self._of_model(model)
            if await self._ensure_consumer(streams.REQUESTS, config)
        ]
        self._models.add(model)
        return changed

    async def ack_wait(self, model: str) -> timedelta:
        """What the broker really applies to the model's durables."""
        name = streams.request_consumer(model, subjects.LANES[0])
        info = await self._jetstream.api(consumer_info(streams.REQUESTS, name))
        return timedelta(microseconds=info["config"]["ack_wait"] / 1000)

    async def _ensure_stream(self, definition: StreamDefinition) -> bool:
        current = await self._current(stream_info(definition.name))
        if current is None:
            return await self._create(definition)
        if _covers(current, definition.config):
            return False
        await self._jetstream.api(stream_update(definition.name), {**current, **definition.config})
        return True

    async def _create(self, definition: StreamDefinition) -> bool:
        config = dict(definition.config)
        if definition.begins_late:
            config["first_seq"] = int(self._now().timestamp() * 1_000_000)
        try:
            await self._jetstream.api(stream_create(definition.name), config)
        except ApiError as error:
            if error.err_code == _IN_USE and await self._current(stream_info(definition.name)):
                # Another provisioner was first, in another microsecond.
                return await self._ensure_stream(definition)
            raise
        return True

    async def _ensure_consumer(self, stream: str, config: Mapping[str, Any]) -> bool:
        name = config["durable_name"]
        current = await self._current(consumer_info(stream, name))
        if current is not None and _covers(current, config):
            return False
        await self._jetstream.api(
            consumer_create(stream, name),
            {"stream_name": stream, "config": {**(current or {}), **config}},
        )
        return True

    async def _current(self, operation: str) -> dict[str, Any] | None:
        try:
            config: dict[str, Any] = (await self._jetstream.api(operation))["config"]
        except ApiError as error:
            if error.err_code in NOT_FOUND:
                return None
            raise
        return config


def _covers(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    # The server leaves out what has its zero value.
    return all(current.get(key, type(value)()) == value for key, value in wanted.items())
