"""An engine that says what a test tells it to."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from services.inference_worker.ports import Batch, Finish, Text
from shared.contracts.completions import RunCompletion

Step = Batch | Exception | asyncio.Event


def words(*texts: str) -> Batch:
    """What one read held: a token each."""
    return Batch([Text(text) for text in texts])


def stop(*, prompt: int | None = 7, completion: int | None = None) -> Batch:
    """The engine's last word."""
    return Batch((), Finish("stop", prompt, completion))


class ScriptedEngine:
    """Each stream takes the next script: batches come out, errors are raised, events awaited."""

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self._scripts = list(scripts)
        self.asked: list[RunCompletion] = []
        self.open = 0

    async def stream(self, run: RunCompletion) -> AsyncGenerator[Batch]:
        """See ``Engine``."""
        self.asked.append(run)
        self.open += 1
        try:
            for step in self._scripts.pop(0):
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.open -= 1
