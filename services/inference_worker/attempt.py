"""One request while it is worked on here."""

import time
from dataclasses import dataclass

from services.inference_worker.heartbeat import Heartbeat
from services.inference_worker.listener import Listener
from services.inference_worker.ports import Job
from services.inference_worker.stop import StopSignal
from services.inference_worker.takeover import FIRST, Claim
from shared.contracts.chat import Timings
from shared.contracts.completions import RunCompletion


@dataclass(slots=True)
class Attempt:
    """What belongs to it, from the pull to the acknowledgement."""

    job: Job
    run: RunCompletion
    stop: StopSignal
    listener: Listener
    heartbeat: Heartbeat
    claimed: Claim = FIRST
    """What it starts from, once that is known."""

    def timings(self) -> Timings:
        """How long it has taken until now, since the pull."""
        answer = self.listener.answer
        first = answer.first_token_at if answer else None
        begun = self.job.pulled_at
        return Timings(
            first_token_ms=None if first is None else round(1000 * (first - begun)),
            total_ms=round(1000 * (time.monotonic() - begun)),
        )
