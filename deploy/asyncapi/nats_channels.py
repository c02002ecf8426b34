"""Everything on NATS, from the contracts: one channel for each subject and each question."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, Final

from deploy.asyncapi.channel import Channel, Flow, Payload, address, receives, sends
from deploy.asyncapi.raw import DEAD_LETTER, FRAME, PROBE
from shared import contracts
from shared.contracts import streams, subjects
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.live import LiveEvent, SettingsChanged
from shared.contracts.questions import Question
from shared.contracts.workers import (
    ControlReply,
    ControlRequest,
    EngineRelisted,
    Provisioned,
    ProvisionModel,
    Watched,
    WorkerProbe,
)

SERVER: Final = "nats"

GATEWAY: Final = "gateway"
WORKER: Final = "worker"
HISTORY: Final = "history"
PROVISIONER: Final = "provisioner"


def questions() -> list[Question[Any, Any]]:
    """Every question of the contracts, by name."""
    modules = [
        importlib.import_module(f"{contracts.__name__}.{module.name}")
        for module in pkgutil.iter_modules(contracts.__path__)
    ]
    found = {
        thing.name: thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, Question)
    }
    return [found[name] for name in sorted(found)]


def nats_channels() -> list[Channel]:
    """All of them."""
    return [*_completions(), *_surroundings(), *map(_question, questions())]


def _completions() -> Iterator[Channel]:
    yield _channel(
        "requests",
        address(subjects.REQUESTS, "model", "lane"),
        "A work queue: each request is one worker's, until it is acknowledged.",
        sends(GATEWAY, RunCompletion),
        receives(WORKER, RunCompletion),
        stream=streams.REQUESTS,
    )
    yield _channel(
        "chunks",
        address(subjects.CHUNKS, "gateway", "completion_id"),
        "The answer while it is made. A gateway ends here what no worker will end.",
        sends(WORKER, FRAME),
        sends(GATEWAY, FRAME),
        receives(GATEWAY, FRAME),
        stream=streams.CHUNKS,
    )
    yield _channel(
        "control",
        address(subjects.CONTROL, "completion_id"),
        "To whoever runs this completion; *no responders* means that nobody does.",
        sends(GATEWAY, ControlRequest),
        sends(WORKER, ControlRequest),
        receives(WORKER, ControlRequest),
        reply=ControlReply,
    )
    yield _channel(
        "watched",
        address(subjects.WATCHED, "completion_id"),
        "Said every 5 s by each gateway with a viewer; not kept.",
        sends(GATEWAY, Watched),
        receives(GATEWAY, Watched),
        receives(WORKER, Watched),
    )
    yield _channel(
        "accepted",
        address(subjects.EVENTS_ACCEPTED, "completion_id"),
        "A gateway took the request on. The first message of its subject counts.",
        sends(GATEWAY, CompletionAccepted),
        stream=streams.EVENTS,
    )
    yield _channel(
        "completed",
        address(subjects.EVENTS_COMPLETED, "completion_id"),
        "The end and the truth, by whoever owns it. The first message of its subject counts.",
        sends(WORKER, CompletionCompleted),
        sends(GATEWAY, CompletionCompleted),
        sends(HISTORY, CompletionCompleted),
        stream=streams.EVENTS,
    )
    yield _channel(
        "events",
        subjects.EVENTS,
        "All events, as history consumes and stores them.",
        receives(HISTORY, CompletionAccepted, CompletionCompleted),
        stream=streams.EVENTS,
    )


def _surroundings() -> Iterator[Channel]:
    yield _channel(
        "workers",
        address(subjects.WORKERS, "model"),
        "Who serves this model now? In a queue group; *no responders* means nobody.",
        sends(GATEWAY, PROBE),
        receives(WORKER, PROBE),
        reply=WorkerProbe,
    )
    yield _channel(
        "sync",
        subjects.SYNC,
        "List your engine's models anew, now: to all workers, each of which answers once.",
        sends(GATEWAY, PROBE),
        receives(WORKER, PROBE),
        reply=EngineRelisted,
    )
    yield _channel(
        "live",
        address(subjects.LIVE, "user", "session_id"),
        "What happens in a session, for the sockets of all gateways; never stored.",
        sends(GATEWAY, LiveEvent),
        sends(HISTORY, LiveEvent),
        receives(GATEWAY, LiveEvent),
    )
    yield _channel(
        "settings",
        subjects.SETTINGS,
        "Preferences or settings of models have changed; never stored.",
        sends(HISTORY, SettingsChanged),
        receives(GATEWAY, SettingsChanged),
    )
    yield _channel(
        "provision_model",
        subjects.PROVISION_MODEL,
        "Make this model's durables; a worker offers it only after the answer.",
        sends(WORKER, ProvisionModel),
        receives(PROVISIONER, ProvisionModel),
        reply=Provisioned,
    )
    yield _channel(
        "dead_letters",
        address(subjects.DEAD_LETTERS, "service"),
        "What a service could not take, for people to look at.",
        sends(WORKER, DEAD_LETTER),
        sends(HISTORY, DEAD_LETTER),
        stream=streams.DEAD_LETTERS,
    )


def _question(question: Question[Any, Any]) -> Channel:
    patient = " May first wait until what was completed is stored." if question.patient else ""
    return _channel(
        f"history.{question.name}",
        subjects.history(question.name),
        f"A question to history, in a queue group.{patient}",
        sends(GATEWAY, question.query),
        receives(HISTORY, question.query),
        reply=question.reply,
    )


def _channel(
    key: str,
    where: str,
    description: str,
    *flows: Flow,
    reply: Payload | None = None,
    stream: str | None = None,
) -> Channel:
    return Channel(key, where, SERVER, description, flows, reply=reply, stream=stream)
