"""What is on record when all is over: one of each for every completion, or it is not right."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import nats.errors
from motor.motor_asyncio import AsyncIOMotorClient

from services.inference_worker.ability import PROBE_SEED
from shared.contracts import streams, subjects
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.errors import BrokerUnavailable
from shared.messaging.jetstream import ApiError, JetStream
from tests.faults.cluster import Cluster
from tests.faults.process import Process
from tests.support.waiting import eventually


@dataclass
class Books:
    """Everything that the broker and the database hold of completions, by id."""

    accepted: list[CompletionAccepted] = field(default_factory=list)
    completed: list[CompletionCompleted] = field(default_factory=list)
    usage: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    questions: Counter[str] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)

    def end_of(self, completion_id: str) -> CompletionCompleted:
        """How it ended."""
        return next(end for end in self.completed if end.completion_id == completion_id)

    def faults(self) -> list[str]:
        """What does not balance; empty if all does."""
        begun = Counter(event.completion_id for event in self.accepted)
        ended = Counter(event.completion_id for event in self.completed)
        found = [f"{one} accepted {n} times" for one, n in begun.items() if n != 1]
        found += [f"{one} completed {n} times" for one, n in ended.items() if n != 1]
        found += [f"{one} has no end" for one in begun if one not in ended]
        for end in self.completed:
            # A gateway that cannot know whether ``accepted`` is stored says in any case that it
            # was rejected: that leaves no message and no bill.
            if end.completion_id not in begun and end.status != "rejected":
                found.append(f"{end.completion_id} was never accepted")
            found += self._of(end)
        return found

    def _of(self, end: CompletionCompleted) -> list[str]:
        one, rejected = end.completion_id, end.status == "rejected"
        bills = 0 if rejected or end.usage is None else 1
        turns = 1 if end.place and not rejected and (end.text or end.status == "completed") else 0
        found = []
        if self.usage[one] != bills:
            found.append(f"{one} ({end.status}) has {self.usage[one]} usage records, not {bills}")
        if end.status == "completed" and not bills:
            found.append(f"{one} was completed and never billed")
        if self.answers[one] != turns:
            found.append(f"{one} ({end.status}) has {self.answers[one]} answers, not {turns}")
        if turns and self.texts[one] != end.text:
            found.append(f"{one} is stored with another text than its event's")
        return found


async def books(cluster: Cluster) -> Books:
    """Read everything there is now."""
    found = Books()
    async for stored in cluster.jetstream.replay(streams.EVENTS, subjects.EVENTS):
        if ".accepted." in stored.subject:
            found.accepted.append(CompletionAccepted.from_bytes(stored.data))
        elif ".completed." in stored.subject:
            found.completed.append(CompletionCompleted.from_bytes(stored.data))
    for document in await documents(cluster, "usage"):
        found.usage[document["_id"]] += 1
    for document in await documents(cluster, "messages"):
        if document.get("rejected"):
            continue
        mine = found.answers if document["role"] == "assistant" else found.questions
        mine[document["completion_id"]] += 1
        if document["role"] == "assistant":
            found.texts[document["completion_id"]] = document["content"]
    return found


async def documents(cluster: Cluster, collection: str) -> list[dict[str, Any]]:
    """What MongoDB really holds, by id."""
    client: AsyncIOMotorClient = AsyncIOMotorClient(
        cluster.mongo.url, serverSelectionTimeoutMS=5000
    )
    try:
        found = [dict(each) async for each in client["parley"][collection].find()]
    finally:
        client.close()
    return sorted(found, key=lambda document: str(document["_id"]))


async def balanced(cluster: Cluster, *, within: float = 30.0) -> Books:
    """Wait until nothing is under way any more; everything must be there exactly once then."""

    async def quiet() -> bool:
        try:
            return await _quiet(cluster.jetstream)
        except (BrokerUnavailable, ApiError, nats.errors.Error):
            return False

    await eventually(quiet, within=within, every=0.1)
    found = await books(cluster)
    problems = found.faults()
    assert not problems, "\n".join(problems)
    return found


async def _quiet(jetstream: JetStream) -> bool:
    consumer = await jetstream.api(f"CONSUMER.INFO.{streams.EVENTS}.{streams.HISTORY_CONSUMER}")
    if consumer["num_pending"] or consumer["num_ack_pending"]:
        return False
    if await queued(jetstream):
        return False
    begun: set[str] = set()
    ended: set[str] = set()
    async for stored in jetstream.replay(streams.EVENTS, subjects.EVENTS):
        kind, completion_id = stored.subject.split(".")[-2:]
        (begun if kind == "accepted" else ended).add(completion_id)
    return begun <= ended


async def queued(jetstream: JetStream) -> int:
    """Requests that nobody has acknowledged."""
    info = await jetstream.api(f"STREAM.INFO.{streams.REQUESTS}")
    return int(info["state"]["messages"])


async def dead_letters(jetstream: JetStream) -> int:
    """How much has been buried."""
    info = await jetstream.api(f"STREAM.INFO.{streams.DEAD_LETTERS}")
    return int(info["state"]["messages"])


async def journal(cluster: Cluster, engine: Process | None = None) -> list[dict[str, Any]]:
    """What an engine has seen of clients' requests, oldest first."""
    reply = await cluster.http.get(f"{(engine or cluster.engine).url}/demo/log")
    return [entry for entry in reply.json() if entry["options"].get("seed") != PROBE_SEED]


async def forget_journal(cluster: Cluster) -> None:
    """Let the next case begin with an empty one."""
    await cluster.http.delete(f"{cluster.engine.url}/demo/log")
