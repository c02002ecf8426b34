"""Composition root of ``parley provision --watch``: keep everything in place for ever."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import nats
import nats.errors
import structlog
from faststream import FastStream
from faststream.nats import NatsRouter

from deploy.provisioning.provisioner import Provisioner
from deploy.provisioning.settings import Settings
from shared.contracts import streams, subjects
from shared.contracts.workers import Provisioned, ProvisionModel
from shared.errors import BrokerUnavailable
from shared.messaging.connection import build_broker
from shared.messaging.jetstream import ApiError, JetStream
from shared.observability.logging import READY

log = structlog.stdlib.get_logger(__name__)


def build_router(provisioner: Provisioner) -> NatsRouter:
    """Answer workers that bring a model."""
    router = NatsRouter()

    @router.subscriber(subjects.PROVISION_MODEL, streams.PROVISION_QUEUE_GROUP)
    async def provision_model(request: ProvisionModel) -> Provisioned:
        try:
            await provisioner.provision_model(request.model)
            ack_wait = await provisioner.ack_wait(request.model)
        except (BrokerUnavailable, ApiError) as error:
            log.warning("provision_model_failed", model=request.model, error=str(error))
            return Provisioned(ok=False, error=str(error))
        return Provisioned(ok=True, ack_wait=ack_wait)

    return router


async def watch(provisioner: Provisioner, interval: float) -> None:
    """Look for what is missing every ``interval`` seconds; a broker that is away is waited for."""
    while True:
        try:
            await provisioner.provision()
        except (BrokerUnavailable, ApiError) as error:
            log.warning("provisioning_failed", error=str(error))
        await asyncio.sleep(interval)


def create_app(settings: Settings) -> FastStream:
    """Wire the watching provisioner; nothing connects before the app starts."""
    broker = build_broker(settings.nats, name="parley-provision", inbox_prefix="_INBOX_provision")

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        client = await broker.connect()
        jetstream = JetStream(client, timeout=settings.nats.request_timeout.total_seconds())
        provisioner = Provisioner(jetstream, settings.capacity())
        broker.include_router(build_router(provisioner))
        interval = settings.provision.check_interval.total_seconds()
        task = asyncio.create_task(watch(provisioner, interval), name="provision-watch")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def ready() -> None:
        log.info(READY)

    return FastStream(
        broker,
        lifespan=lifespan,
        after_startup=[ready],
        logger=logging.getLogger("faststream"),
    )


async def provision_once(settings: Settings) -> None:
    """``parley provision``: make everything and end.

    Raises:
        BrokerUnavailable: no broker at ``NATS_URL``, or one without JetStream.
        ApiError: the server refuses a definition.
    """
    try:
        client = await nats.connect(
            settings.nats.url.split(","),
            name="parley-provision",
            connect_timeout=5,
            allow_reconnect=False,
        )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        message = f"no NATS server answers at {settings.nats.url}"
        raise BrokerUnavailable(message) from error
    try:
        jetstream = JetStream(client, timeout=settings.nats.request_timeout.total_seconds())
        await Provisioner(jetstream, settings.capacity()).provision()
    finally:
        await client.close()
