"""``python -m tests.fakes.api.dying_gateway URL SEED_FILE``: killed before it queues anything."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from services.api.ports.broker import Broker
from services.api.settings import Settings
from services.api.world import World, nats_world
from tests.fakes.api.gateway import RunningGateway, quick_settings


class DeadlyQueue:
    """Nothing is ever queued: ``accepted`` and the announcement are out by then."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def enqueue(self, command: bytes, model: str, lane: str) -> int:
        del command, model, lane
        # What was said before has left this process.
        await self._broker.ping()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    async def withdraw(self, number: int, completion_id: str) -> bool:
        del number, completion_id
        return False


@asynccontextmanager
async def deadly_world(settings: Settings) -> AsyncGenerator[World]:
    async with nats_world(settings) as world:
        yield replace(world, queue=DeadlyQueue(world.broker))


async def main(nats_url: str, seed_file: str) -> None:
    settings = quick_settings(nats_url)
    nats = settings.nats.model_copy(update={"nkey_seed_file": Path(seed_file)})
    settings = settings.model_copy(update={"nats": nats})
    async with RunningGateway(settings, open_world=deadly_world) as gateway:
        sys.stdout.write(f"{gateway.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
