"""One worker with its surroundings in memory."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

from services.inference_worker.ability import Ability
from services.inference_worker.completions import Completions, Surroundings
from services.inference_worker.ending import Ending
from services.inference_worker.generation import Generation
from services.inference_worker.stop import StopSignal
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionCompleted
from tests.fakes.inference_worker.broker import FakeBroker, FakeJob
from tests.fakes.inference_worker.requests import NOON, request
from tests.fakes.inference_worker.scripted_engine import ScriptedEngine, Step


class OneWorker:
    """One worker with its surroundings in memory."""

    def __init__(
        self,
        *scripts: Sequence[Step],
        run: RunCompletion | None = None,
        deliveries: int = 1,
        ack_wait: float = 10.0,
        pulled: float = 0.0,
        broker: FakeBroker | None = None,
    ) -> None:
        self.engine = ScriptedEngine(*scripts)
        self.broker = broker or FakeBroker(abilities={"demo:latest": False})
        self.stop = StopSignal()
        self.missing: list[str] = []
        data = (run or request()).to_bytes()
        pulled_at = time.monotonic() - pulled
        self.job = FakeJob(data, self.broker.log, deliveries, pulled_at, ack_wait)
        self.completions = Completions(
            Generation(
                self.engine,
                Ability(self.engine, self.broker, lambda model: model),
                retry_after=timedelta(0),
            ),
            Surroundings(self.broker, self.broker, self.broker),
            now=lambda: NOON,
            on_model_missing=lambda: self.missing.append("model"),
            ending=Ending(self.broker, self.broker, sleep=_no_sleep),
        )

    async def run(self) -> CompletionCompleted:
        """Run it to its end."""
        await self.completions.run(self.job, self.stop)
        assert self.broker.listening == 0
        assert self.engine.open == 0
        return self.broker.end

    def start(self) -> asyncio.Task[None]:
        """Let it run."""
        return asyncio.create_task(self.completions.run(self.job, self.stop))

    @property
    def last_steps(self) -> list[str]:
        """The steps of its end, in order."""
        return [step for step in self.broker.log if step in {"completed", "END", "ack"}]


async def _no_sleep(_seconds: float) -> None:
    return
