"""A history service that runs: in this process, or as one of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import nats.errors
from motor.motor_asyncio import AsyncIOMotorClient
from nats.aio.client import Client

from services.history.app import create_app
from services.history.settings import HistorySettings, MongoSettings, Settings
from shared.contracts import session_questions as asked
from shared.contracts import streams, subjects
from shared.contracts.chat import Failure
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.history import GetSession, Reply
from shared.contracts.history_health import HealthQuery, HistoryHealth
from shared.contracts.identities import Identity
from shared.contracts.questions import Q, Question, R
from shared.contracts.wire import WireModel
from shared.messaging.jetstream import JetStream
from shared.settings import NatsSettings
from tests.fakes.history.conversation import Turn
from tests.support.nats_keys import seed_file
from tests.support.waiting import eventually

_R = TypeVar("_R", bound=Reply)
Event = CompletionAccepted | CompletionCompleted


def history_settings(nats_url: str, mongo_url: str, **options: object) -> Settings:
    """Settings for two servers; ``options`` are those of ``HistorySettings``."""
    return Settings(
        nats=NatsSettings(url=nats_url, nkey_seed_file=seed_file(Identity.HISTORY)),
        mongo=MongoSettings(url=mongo_url),
        history=HistorySettings.model_validate(options),
    )


@asynccontextmanager
async def running_history(settings: Settings, client: Client) -> AsyncGenerator[None]:
    """The service in this process, ready and, at the end, stopped in good order."""
    app = create_app(settings)
    task = asyncio.create_task(app.run())
    try:
        await answering(client)
        yield
    finally:
        app.exit()
        await asyncio.wait_for(task, 10)


class HistoryProcess:
    """``parley history`` as its own process, for kills."""

    def __init__(self, nats_url: str, mongo_url: str, log: Path) -> None:
        self._log = log
        self._environment = {
            **os.environ,  # noqa: TID251 - a child needs its PATH
            "NATS_URL": nats_url,
            "NATS_NKEY_SEED_FILE": str(seed_file(Identity.HISTORY)),
            "MONGODB_URL": mongo_url,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return at once."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.history"],
                env=self._environment,
                stdout=output,
                stderr=output,
            )

    def ready(self) -> bool:
        """Whether the process has said so."""
        return self._log.exists() and b'"parley_ready"' in self._log.read_bytes()

    def started(self) -> bool:
        """Whether the process has got as far as handling signals."""
        return self._log.exists() and b"FastStream app starting" in self._log.read_bytes()

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(15)


async def ask(
    client: Client, operation: str, query: WireModel, reply: type[_R], *, timeout: float = 8
) -> _R:
    """One query as a gateway sends it."""
    message = await client.request(subjects.history(operation), query.to_bytes(), timeout=timeout)
    return reply.from_bytes(message.data)


async def answer(client: Client, question: Question[Q, R], query: Q) -> R:
    """What a question gets that goes well."""
    reply = await ask(client, question.name, query, question.reply)
    assert reply.error is None, reply.error
    return reply


async def refusal(client: Client, question: Question[Q, R], query: Q) -> Failure:
    """Why a question does not get what it asks for."""
    reply = await ask(client, question.name, query, question.reply)
    assert reply.error is not None
    return reply.error


async def answering(client: Client) -> None:
    """Wait until somebody answers queries."""

    async def answered() -> bool:
        try:
            await ask(client, asked.HEALTH.name, HealthQuery(), HistoryHealth)
        except nats.errors.Error:
            return False
        return True

    await eventually(answered, within=20)


async def publish(jetstream: JetStream, *events: Event) -> None:
    """What gateways and workers do with events."""
    for event in events:
        accepted = isinstance(event, CompletionAccepted)
        subject_of = subjects.accepted if accepted else subjects.completed
        await jetstream.publish_once(subject_of(event.completion_id), event.to_bytes())


async def say(jetstream: JetStream, client: Client, *turns: Turn) -> None:
    """Publish whole turns, one after another; returns once each of them can be read."""
    for turn in turns:
        await publish(jetstream, turn.accepted(), turn.completed())
        query = GetSession(
            user_id=turn.user_id, session_id=turn.session_id, after_completion=turn.completion_id
        )
        await answer(client, asked.GET_SESSION, query)


class Stored:
    """What MongoDB really holds."""

    def __init__(self, url: str) -> None:
        self._client = AsyncIOMotorClient(url, serverSelectionTimeoutMS=2000)
        self._database = self._client["parley"]

    async def documents(self, collection: str) -> list[dict[str, object]]:
        """All documents, by id."""
        found = [dict(document) async for document in self._database[collection].find()]
        return sorted(found, key=lambda document: str(document["_id"]))

    async def forget(self, collection: str, key: str) -> None:
        """Remove one document, as a backup of before would lack it."""
        await self._database[collection].delete_one({"_id": key})

    async def count(self, collection: str) -> int:
        """How many documents there are."""
        return len(await self.documents(collection))

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()


async def dead_letters(jetstream: JetStream) -> int:
    """How many events have been buried."""
    info = await jetstream.api(f"STREAM.INFO.{streams.DEAD_LETTERS}")
    return int(info["state"]["messages"])


async def all_stored(jetstream: JetStream) -> bool:
    """Whether the consumer has nothing left to do with what was published until now."""
    state = (await jetstream.api(f"STREAM.INFO.{streams.EVENTS}"))["state"]
    info = await jetstream.api(f"CONSUMER.INFO.{streams.EVENTS}.{streams.HISTORY_CONSUMER}")
    # A consumer hears of an event a moment after the stream has taken it: until then it counts
    # nothing as pending, and only its floor tells.
    done = max(int(info["ack_floor"]["stream_seq"]), int(state["first_seq"]) - 1)
    heard = done >= int(state["last_seq"])
    return heard and int(info["num_pending"]) == 0 and int(info["num_ack_pending"]) == 0
