"""A broker that comes back without anything."""

from deploy.provisioning.provisioner import Provisioner
from shared.contracts.streams import Capacity
from shared.errors import BrokerUnavailable
from shared.messaging.jetstream import ApiError, JetStream
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually


async def wipe(server: NatsServer, jetstream: JetStream) -> None:
    """Let it lose its store in a crash, and be provisioned as the watchdog does; then return."""
    server.kill()
    server.lose_store()
    await server.start()

    async def provision() -> bool:
        try:
            await Provisioner(jetstream, Capacity()).provision()
        except (BrokerUnavailable, ApiError):
            return False
        return True

    await eventually(provision)
