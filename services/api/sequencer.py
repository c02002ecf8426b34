"""Which frame comes next: pure bookkeeping over heads, so that a reader never passes a gap."""

from enum import Enum, auto

from shared.contracts.frames import Frame, FrameKind


class Verdict(Enum):
    """What a reader does with a frame."""

    DELIVER = auto()
    """Relay its body: it is the next one."""
    DUPLICATE = auto()
    """Nothing: the reader has it already."""
    STALE = auto()
    """Nothing: a later attempt has taken over."""
    GAP = auto()
    """Events before it are missing: repair, do not relay."""
    BRIDGE = auto()
    """A snapshot that holds what is missing."""
    DIVERGED = auto()
    """More was relayed than a takeover goes on from: end with an error, never splice."""
    QUIET = auto()
    """Nothing: a sign of life."""
    END = auto()
    """The terminal; ``missing`` says whether events before it were lost."""


class Sequencer:
    """Position of one reader in one answer: next index, attempt, characters relayed."""

    def __init__(self) -> None:
        self.next_index = 0
        self.attempt = 0
        self.text_length = 0
        self.thinking_length = 0
        self._known = 0

    @property
    def in_gap(self) -> bool:
        """Whether events are known to exist that the reader has not got."""
        return self.next_index < self._known

    def judge(self, frame: Frame) -> Verdict:
        """Place a frame; ``DELIVER`` moves the position, everything else leaves it."""
        if frame.kind is FrameKind.END:
            # Stored before it was sent, whoever sends it: the truth, whatever the attempt.
            return Verdict.END
        if frame.attempt < self.attempt:
            return Verdict.STALE
        if frame.attempt > self.attempt:
            # What a predecessor said beyond the takeover does not exist.
            self.attempt, self._known = frame.attempt, self.next_index
        # A sign of life tells how far the answer is, too.
        self._known = max(self._known, frame.next_index)
        if frame.kind is FrameKind.TOKENS:
            return self._tokens(frame)
        if frame.kind is FrameKind.SNAPSHOT:
            return self._snapshot(frame)
        if frame.kind is FrameKind.FROM:
            return self._from(frame)
        return Verdict.QUIET

    def jump(self, frame: Frame) -> None:
        """What was missing before ``frame.next_index`` has been relayed by other means."""
        self._move(frame)

    def rewound(self) -> "Sequencer":
        """The same position before any attempt: for reading the log from its beginning.

        What an earlier attempt sent before a takeover counts; the log has it in that order.
        """
        other = Sequencer()
        other.next_index = self.next_index
        other.text_length = self.text_length
        other.thinking_length = self.thinking_length
        return other

    def adopt(self, other: "Sequencer") -> None:
        """Go on from where a reading of the log came to."""
        self.next_index = other.next_index
        self.text_length = other.text_length
        self.thinking_length = other.thinking_length
        self.attempt = max(self.attempt, other.attempt)

    def missing(self, events: int) -> bool:
        """Whether an answer of ``events`` events has some that were not relayed."""
        return self.next_index < events

    def _tokens(self, frame: Frame) -> Verdict:
        if frame.first < self.next_index:
            # A worker never cuts the same events into other frames, so nothing in it is new,
            # unless it overlaps the end: then the log has the pieces.
            overlaps = frame.next_index > self.next_index
            return Verdict.GAP if overlaps else Verdict.DUPLICATE
        if frame.first > self.next_index:
            return Verdict.GAP
        self._move(frame)
        return Verdict.DELIVER

    def _snapshot(self, frame: Frame) -> Verdict:
        if frame.first <= self.next_index:
            return Verdict.QUIET
        return Verdict.BRIDGE

    def _from(self, frame: Frame) -> Verdict:
        if self.next_index > frame.first:
            return Verdict.DIVERGED
        return Verdict.GAP if self.next_index < frame.first else Verdict.QUIET

    def _move(self, frame: Frame) -> None:
        self.next_index = frame.next_index
        self.text_length = frame.text_length
        self.thinking_length = frame.thinking_length
