"""``parley worker`` that breaks at ``FAULT_POINT``.

- ``pulled``: it has looked at the request, and done nothing.
- ``token:N``: the broker keeps N tokens of the answer; 0 is just before the first is sent.
- ``completed``: ``completed`` is recorded, ``END`` is not sent.
- ``end``: ``END`` is kept by the broker, the request is not acknowledged.
"""

from contextlib import aclosing
from dataclasses import replace
from typing import cast

from services.inference_worker.__main__ import main
from services.inference_worker.completions import Surroundings
from services.inference_worker.ports import Frames, Ledger
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId
from tests.faults.fault_build.trap import After, FaultSettings, Trap, count_tasks_when_asked


class TrappedFrames:
    """``Frames`` with traps before, between and behind those of an answer."""

    def __init__(self, frames: Frames, ledger: Ledger, trap: Trap) -> None:
        self._frames = frames
        self._ledger = ledger
        self._trap = trap

    @property
    def room(self) -> int:
        """See the port."""
        return self._frames.room

    async def send(self, subject: str, frame: Frame) -> None:
        """See the port."""
        tokens = frame.kind is FrameKind.TOKENS and self._trap.is_set("token")
        if tokens and self._trap.number == 0:
            self._trap.spring()
        await self._frames.send(subject, frame)
        enough = tokens and frame.tokens >= self._trap.number
        if enough or (frame.kind is FrameKind.END and self._trap.is_set("end")):
            await self._kept(CompletionId(subject.rsplit(".", 1)[-1]), frame)
            self._trap.spring()

    async def _kept(self, completion_id: CompletionId, sent: Frame) -> None:
        # What was published last may still stand in this process: it must not die with it.
        while True:
            async with aclosing(self._ledger.frames(completion_id, 0)) as frames:
                async for _, frame in frames:
                    if frame == sent:
                        return


def surround(around: Surroundings) -> Surroundings:
    """Set the trap that the environment asks for."""
    trap = Trap(FaultSettings())
    ledger = cast("Ledger", After(around.ledger, "complete", trap, "completed"))
    ledger = cast("Ledger", After(ledger, "completed", trap, "pulled"))
    return replace(around, ledger=ledger, frames=TrappedFrames(around.frames, ledger, trap))


if __name__ == "__main__":
    count_tasks_when_asked()
    main(surround)
