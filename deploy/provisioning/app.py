"""Composition root of ``parley provision --watch``: keep everything in place for ever."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import nats.errors
import structlog
from faststream import FastStream
from faststream.nats import NatsRouter

from deploy.provisioning.provisioner import Provisioner
from deploy.provisioning.settings import Settings
from shared.contracts import streams, subjects
from shared.contracts.identities import Identity
from shared.contracts.workers import Provisioned, ProvisionModel
from shared.errors import BrokerUnavailable
from shared.messaging.connection import build_broker, credentials, is_refusal, refused
from shared.messaging.jetstream import ApiError, JetStream
from shared.messaging.tidy_client import connect
from shared.observability.logging import READY
from shared.tasks import end_tasks

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


@asynccontextmanager
async def ending_with(
    work: Coroutine[Any, Any, None], stop: Callable[[], None]
) -> AsyncGenerator[None]:
    """Do ``work`` in the background; should it fail, ``stop`` is called and the failure raised.

    A process that lived on without its work would look well and never be restarted.
    """

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            stop()

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    try:
        yield
    finally:
        await end_tasks([task])
        if not task.cancelled():
            task.result()


def create_app(settings: Settings) -> FastStream:
    """Wire the watching provisioner; nothing connects before the app starts."""
    broker = build_broker(settings.nats, Identity.PROVISIONER)

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[None]:
        client = await broker.connect()
        jetstream = JetStream(client, timeout=settings.nats.request_timeout.total_seconds())
        provisioner = Provisioner(jetstream, settings.capacity())
        broker.include_router(build_router(provisioner))
        interval = settings.provision.check_interval.total_seconds()
        async with ending_with(watch(provisioner, interval), app.exit):
            yield

    async def ready() -> None:
        log.info(READY)

    app = FastStream(
        broker,
        lifespan=lifespan,
        after_startup=[ready],
        logger=logging.getLogger("faststream"),
    )
    return app


async def _raised_anyway(_error: Exception) -> None:
    return


async def provision_once(settings: Settings) -> None:
    """``parley provision``: make everything and end.

    Raises:
        CredentialsRefused: the broker does not know the key.
        BrokerUnavailable: no broker at ``NATS_URL``, or one without JetStream.
        ApiError: the server refuses a definition.
    """
    try:
        client = await connect(
            settings.nats.servers,
            **credentials(Identity.PROVISIONER, settings.nats.nkey_seed_file),
            connect_timeout=5,
            allow_reconnect=False,
            # Even so nats-py would try for two minutes to connect at first, and log each failure.
            max_reconnect_attempts=2,
            reconnect_time_wait=0.5,
            error_cb=_raised_anyway,
        )
    except (nats.errors.Error, OSError, TimeoutError) as error:
        if is_refusal(error):
            raise refused(settings.nats) from error
        # The part before the @ is a secret.
        places = ", ".join(server.rpartition("@")[2] for server in settings.nats.servers)
        message = f"no NATS server answers at {places} (NATS_URL)"
        raise BrokerUnavailable(message) from error
    try:
        jetstream = JetStream(client, timeout=settings.nats.request_timeout.total_seconds())
        await Provisioner(jetstream, settings.capacity()).provision()
    finally:
        await client.close()
