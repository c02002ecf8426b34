"""``python -m services.api`` as a process: how it starts, refuses to, and stops."""

import asyncio
import json
import os
import signal
import socket
import sys

import httpx
import pytest
from nats.aio.client import Client

from shared.contracts.identities import Identity
from shared.messaging.jetstream import JetStream
from tests.fakes.api.worker import chunks_of, scripted_worker
from tests.support.nats_keys import seed_file
from tests.support.nats_server import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


async def start(**environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.api",
        env={"PATH": os.defpath, **environment},
        stderr=asyncio.subprocess.PIPE,
    )


def known_to(server: NatsServer) -> dict[str, str]:
    return {"NATS_URL": server.url, "NATS_NKEY_SEED_FILE": str(seed_file(Identity.GATEWAY))}


async def refusal(**environment: str) -> tuple[int | None, str]:
    process = await start(**environment)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, errors.decode()


async def ready(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    while True:
        line = json.loads(await asyncio.wait_for(process.stderr.readline(), 20))
        if line["event"] == "parley_ready":
            return int(line["port"])


async def test_a_stop_lets_a_stream_finish_and_ends_with_zero(
    nats_server: NatsServer, client: Client, provisioned: JetStream
) -> None:
    async with scripted_worker(client, provisioned) as worker:
        process = await start(**known_to(nats_server), API_PORT="0")
        port = await ready(process)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            body = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "stream": True}
            answer = asyncio.create_task(http.post("/v1/chat/completions", json=body))
            job = await worker.take()
            await job.say("to the ")
            process.send_signal(signal.SIGTERM)

            async def stopping() -> bool:
                return bool((await http.get("/readyz")).json()["status"] == "stopping")

            await eventually(stopping)
            await job.say("end")
            await job.end()
            response = await answer
        assert "server" not in response.headers
        assert chunks_of(response.text)[-1] == "[DONE]"
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, errors.decode()


async def test_a_taken_port_is_a_sentence_and_exit_code_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, errors = await refusal(API_PORT=str(port))
    assert code == 1
    assert errors.startswith(f"API_PORT: cannot listen on 127.0.0.1:{port}: ")
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"API_AUTH": "sometimes"}, "API_AUTH"),
        ({"API_HOST": "0.0.0.0"}, "must be a loopback address"),  # noqa: S104
        ({"API_DRAIN_TIMEOUT": "soon"}, "is not a duration"),
    ],
)
async def test_a_wrong_setting_is_a_sentence_and_exit_code_2(
    environment: dict[str, str], sentence: str
) -> None:
    code, errors = await refusal(**environment)
    assert code == 2
    assert sentence in errors
    assert "Traceback" not in errors


async def test_a_missing_broker_is_a_sentence_and_exit_code_1() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"nats://127.0.0.1:{port}"
    code, errors = await refusal(NATS_URL=url, API_PORT="0", API_STARTUP_TIMEOUT="500ms")
    assert code == 1
    assert f"No NATS server answers at {url}." in errors
    assert "Traceback" not in errors


@pytest.mark.slow
async def test_an_idle_connection_outlives_those_of_clients(nats_server: NatsServer) -> None:
    process = await start(**known_to(nats_server), API_PORT="0")
    port = await ready(process)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    writer.write(request)
    await asyncio.wait_for(reader.readuntil(b'"ok"}'), 5)
    # httpx keeps an idle connection for five seconds, and so did uvicorn.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 6)
    writer.write(request)
    await asyncio.wait_for(reader.readuntil(b'"ok"}'), 5)
    writer.close()
    process.terminate()
    await asyncio.wait_for(process.communicate(), 20)
