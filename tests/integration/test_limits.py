"""Limits over real gateways and a real broker: exact, shared, and healed after every crash."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from services.api.ports.limits import Slots
from services.api.settings import Settings as GatewaySettings
from services.api.world import World, nats_world
from shared.clock import utc_now
from shared.contracts import streams
from shared.contracts.identities import Identity
from shared.messaging.jetstream import JetStream
from tests.fakes.api.clocks import stopped_at
from tests.fakes.api.gateway import RunningGateway, quick_settings
from tests.fakes.api.worker import ScriptedWorker, announce, text_of
from tests.support.nats_keys import seed_file
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration

ASK: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
ADDRESS = "/v1/chat/completions"


@pytest.fixture
def gateway_settings(nats_server: NatsServer) -> GatewaySettings:
    return quick_settings(nats_server.url, concurrent_requests=3)


async def leases(jetstream: JetStream) -> dict[str, int]:
    """Keys and revisions of the slots that are held."""
    found = {}
    bucket = streams.bucket_stream(streams.LIMITS)
    async for message in jetstream.replay(bucket, "$KV.limits.lease.>"):
        if message.data:
            found[message.subject] = message.sequence
    return found


async def accepted(jetstream: JetStream) -> int:
    return len([m async for m in jetstream.replay(streams.EVENTS, "chat.events.accepted.*")])


async def status(port: int) -> int:
    """Ask on a connection of its own, and wait for no more than the status."""
    body = json.dumps(ASK).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST {ADDRESS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


async def outcomes(ports: list[int], each: int, jetstream: JetStream) -> Counter[int]:
    """Ask ``each`` times at every gateway at once; who is admitted waits, and counts as 0."""
    asking = [asyncio.create_task(status(port)) for _ in range(each) for port in ports]

    async def all_are_decided() -> bool:
        # Gateways that are too busy to hear a worker must not think that it is gone.
        await announce(jetstream)
        return sum(not task.done() for task in asking) == await accepted(jetstream)

    await eventually(all_are_decided, within=60, every=0.2)
    waiting = [task for task in asking if not task.done()]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return Counter(0 if task.cancelled() else task.result() for task in asking)


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(seconds=30)])
async def test_of_six_hundred_at_three_gateways_exactly_twenty_are_admitted(
    nats_server: NatsServer, worker: ScriptedWorker, client: Client, ahead: timedelta
) -> None:
    settings = quick_settings(nats_server.url, requests_per_minute=20)
    # Three gateways and six hundred clients in one process keep each other waiting.
    patience = timedelta(minutes=1)
    patient = settings.nats.model_copy(update={"request_timeout": patience})
    settings = settings.model_copy(update={"nats": patient})
    jetstream = JetStream(client, timeout=patience.total_seconds())
    now = utc_now()
    async with AsyncExitStack() as stack:
        ports = []
        for fast in (timedelta(0), timedelta(0), ahead):
            opened = RunningGateway(settings, open_world=stopped_at(now, ahead=fast))
            gateway = await stack.enter_async_context(opened)
            ports.append(int(gateway.url.rsplit(":", 1)[1]))
        found = await outcomes(ports, 200, jetstream)
    # A clock that is half a minute fast believes in ten more that it alone has seen earned back.
    most = 20 + 10 * bool(ahead)
    assert set(found) == {0, 429}
    assert 20 <= found[0] <= most
    assert await accepted(jetstream) == found[0]


async def test_the_fourth_at_once_is_refused_anywhere_until_one_of_three_has_ended(
    gateway: RunningGateway, other: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(gateway.http.post(ADDRESS, json={**ASK, "stream": True}))]
        job = await worker.take()
        for where in (gateway, other):
            asked.append(group.create_task(where.http.post(ADDRESS, json=ASK)))
        await eventually(lambda: _are(provisioned, 3))
        for where in (gateway, other):
            refused = await where.http.post(ADDRESS, json=ASK)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        await job.say("Hello")
        await job.end()
        assert text_of((await asked[0]).text) == "Hello"
        # Its client has heard the end, so the place is free; at the other gateway, too.
        last = group.create_task(other.http.post(ADDRESS, json=ASK))
        await eventually(lambda: _are(provisioned, 3))
        assert not last.done()
        for task in (*asked, last):
            task.cancel()


async def _are(jetstream: JetStream, count: int) -> bool:
    return len(await leases(jetstream)) == count


async def test_a_client_that_vanishes_before_the_first_byte_frees_its_place_at_once(
    gateway: RunningGateway, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    asking = asyncio.create_task(gateway.http.post(ADDRESS, json={**ASK, "stream": True}))
    job = await worker.take()
    assert await _are(provisioned, 1)
    asking.cancel()
    await job.stopped(within=2)
    await eventually(lambda: _are(provisioned, 0), within=2)


class Interrupted:
    """The broker stops at the moment when a slot is to be released, and comes back later."""

    def __init__(self, slots: Slots, server: NatsServer) -> None:
        self.take, self.renew, self.find = slots.take, slots.renew, slots.find
        self._slots, self._server = slots, server
        self.failed = asyncio.Event()

    async def release(self, holder: str, slot: int, revision: int) -> bool:
        if self.failed.is_set():
            return await self._slots.release(holder, slot, revision)
        self._server.stop()
        try:
            return await self._slots.release(holder, slot, revision)
        finally:
            self.failed.set()


async def test_a_broker_that_restarts_at_the_release_does_not_keep_the_place(
    nats_server: NatsServer,
    gateway_settings: GatewaySettings,
    worker: ScriptedWorker,
    provisioned: JetStream,
) -> None:
    interrupted: list[Interrupted] = []

    @asynccontextmanager
    async def open_world(settings: GatewaySettings) -> AsyncGenerator[World]:
        async with nats_world(settings) as world:
            interrupted.append(Interrupted(world.slots, nats_server))
            yield replace(world, slots=interrupted[0])

    async with RunningGateway(gateway_settings, open_world=open_world) as gateway:
        asking = asyncio.create_task(gateway.http.post(ADDRESS, json={**ASK, "stream": True}))
        job = await worker.take()
        await job.say("Hello")
        await job.end()
        answer = await asking
        # The answer does not wait for its lease.
        assert text_of(answer.text) == "Hello"
        assert interrupted[0].failed.is_set()
        await nats_server.start()
        # Long before it would have run out.
        await eventually(lambda: _are(provisioned, 0), within=8)


async def test_without_the_broker_nothing_is_started(
    nats_server: NatsServer, worker: ScriptedWorker
) -> None:
    settings = quick_settings(nats_server.url, requests_per_minute=20, concurrent_requests=3)
    async with RunningGateway(settings) as gateway:
        nats_server.stop()
        refused = await gateway.http.post(ADDRESS, json=ASK)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "broker_unavailable"
        await nats_server.start()


async def _process(url: str) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.api",
        env={
            "PATH": os.defpath,
            "NATS_URL": url,
            "NATS_NKEY_SEED_FILE": str(seed_file(Identity.GATEWAY)),
            "API_PORT": "0",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while True:
        line = json.loads(await asyncio.wait_for(process.stderr.readline(), 20))
        if line["event"] == "parley_ready":
            return process, f"http://127.0.0.1:{line['port']}"


@pytest.mark.slow
async def test_a_gateway_that_is_killed_frees_its_places_within_sixteen_seconds(
    nats_server: NatsServer, worker: ScriptedWorker, provisioned: JetStream
) -> None:
    process, url = await _process(nats_server.url)
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        asking = [asyncio.create_task(http.post(ADDRESS, json=ASK)) for _ in range(3)]
        await eventually(lambda: _are(provisioned, 3))
        assert (await http.post(ADDRESS, json=ASK)).status_code == 429
        taken = await leases(provisioned)

        async def renewed() -> bool:
            return all(at > taken[key] for key, at in (await leases(provisioned)).items())

        # While it lives it keeps them.
        await eventually(renewed, within=8)
        assert await _are(provisioned, 3)

        process.kill()
        died = asyncio.get_running_loop().time()
        await process.wait()
        await asyncio.gather(*asking, return_exceptions=True)
    await eventually(lambda: _are(provisioned, 0), within=20)
    assert asyncio.get_running_loop().time() - died <= 16
