"""Where a reader of one answer is in the log of frames."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.api.ports.broker import FrameLog
from services.api.streams.sequencer import Sequencer, Verdict
from shared.contracts.frames import Frame
from shared.contracts.ids import CompletionId


class LogReading:
    """Reads on where it stopped; before a hole, which a late frame may fill."""

    def __init__(self, completion_id: CompletionId, frames: FrameLog) -> None:
        self._id = completion_id
        self._frames = frames
        self._position = 1
        self._attempt = 0

    async def on(self, reader: Sequencer) -> AsyncGenerator[tuple[Frame, Verdict]]:
        """Each frame that was not read yet, and its place; whoever stops early goes on from there.

        Args:
            reader: Judges them, from the position of the reader; moves on with what it is given.

        Raises:
            BrokerUnavailable: no answer.
        """
        reader.attempt = self._attempt
        hole = 0
        async with aclosing(self._frames.replay(self._id, self._position)) as frames:
            async for position, frame in frames:
                before = reader.next_index
                verdict = reader.judge(frame)
                self._position, self._attempt = position + 1, reader.attempt
                if verdict is Verdict.GAP:
                    hole = hole or position
                yield frame, verdict
                if reader.next_index > before:
                    hole = 0
        if hole:
            self._position = hole
