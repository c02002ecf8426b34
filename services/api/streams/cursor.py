"""Where a reader comes back, and whether what it has is of the answer that goes on: pure."""

from services.api.streams.numbering import frames_gone
from services.api.streams.sequencer import Verdict
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId


class Cursor:
    """The last event that a reader has, which may have been said twice.

    A worker that was overtaken may have said it once more, in other words, and an id does not tell
    whose the reader has. Whoever comes back there is refused: it would be given a splice.
    """

    def __init__(self, completion_id: CompletionId, after: int) -> None:
        """Nothing is known of it yet.

        Args:
            completion_id: Whose event.
            after: Its index, -1 for none.
        """
        self._id = completion_id
        self._after = after
        self._ghost: int | None = None
        """The oldest attempt that has said it in a frame that was not relayed."""
        self._seam = 0
        """The newest attempt that goes on from before it."""

    def check(self, frame: Frame, verdict: Verdict) -> None:
        """Take in a frame that is not relayed.

        Raises:
            FramesGone: nobody can tell which of two texts the reader has.
        """
        if self._after < 0:
            return
        if verdict is Verdict.SEAM and frame.first <= self._after:
            self._seam = max(self._seam, frame.attempt)
        elif verdict in {Verdict.STALE, Verdict.GAP} and self._names(frame):
            oldest = frame.attempt if self._ghost is None else self._ghost
            self._ghost = min(oldest, frame.attempt)
        if self._ghost is not None and self._ghost < self._seam:
            raise frames_gone(self._id)

    def _names(self, frame: Frame) -> bool:
        if frame.kind is FrameKind.TOKENS:
            return frame.first <= self._after < frame.next_index
        # It may have stood for what was lost before it, as one event.
        return frame.kind is FrameKind.SNAPSHOT and frame.first - 1 == self._after
