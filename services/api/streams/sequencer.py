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
    SEAM = auto()
    """A takeover goes on from exactly what was relayed, as far as heads can tell."""
    DIVERGED = auto()
    """A takeover goes on from something else than was relayed: end with an error, never splice."""
    QUIET = auto()
    """Nothing: a sign of life."""
    END = auto()
    """The terminal; ``missing`` says whether events before it were lost."""


class Sequencer:
    """Position of one reader in one answer: next index, attempt, characters relayed."""

    def __init__(self) -> None:
        self.next_index = 0
        self.attempt = 0
        self.joined = 0
        """The newest attempt that is known to go on from what was relayed."""
        self.joined_at = 0
        """The index at which it did."""
        self.text_length = 0
        self.thinking_length = 0
        self._known = 0

    @property
    def in_gap(self) -> bool:
        """Whether something is known to exist that the reader has not got: events, or a seam."""
        return self.next_index < self._known or self.unjoined(self.attempt)

    def unjoined(self, attempt: int) -> bool:
        """Whether nothing says yet that ``attempt`` goes on from what was relayed."""
        return attempt > self.joined and self.next_index > 0

    def judge(self, frame: Frame) -> Verdict:
        """Place a frame; ``DELIVER`` moves the position, everything else leaves it."""
        if frame.kind is FrameKind.END:
            # Stored before it was sent, whoever sends it: the truth, whatever the attempt.
            return Verdict.END
        if frame.attempt < max(self.attempt, self.joined):
            # Also in a log that has lost the takeover: this reader goes on with a later attempt.
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
        self.joined = max(self.joined, frame.attempt)
        self._move(frame)

    def rewound(self) -> "Sequencer":
        """The same position before any attempt: for reading the log from its beginning.

        What an earlier attempt sent before a takeover counts; the log has it in that order.
        """
        other = Sequencer()
        other.next_index = self.next_index
        other.joined, other.joined_at = self.joined, self.joined_at
        other.text_length = self.text_length
        other.thinking_length = self.thinking_length
        return other

    def adopt(self, other: "Sequencer") -> None:
        """Go on from where a reading of the log came to."""
        self.next_index = other.next_index
        self.text_length = other.text_length
        self.thinking_length = other.thinking_length
        self.attempt = max(self.attempt, other.attempt)
        self.joined, self.joined_at = other.joined, other.joined_at

    def strayed(self, attempt: int) -> bool:
        """Whether something was relayed that an end by ``attempt`` knows nothing of."""
        return attempt < self.joined and self.next_index > self.joined_at

    def missing(self, events: int) -> bool:
        """Whether an answer of ``events`` events has some that were not relayed."""
        return self.next_index < events

    def _tokens(self, frame: Frame) -> Verdict:
        if frame.attempt > self.joined and self.next_index:
            # Its ``FROM`` was lost, and named this index or an earlier one.
            return Verdict.DIVERGED if frame.first < self.next_index else Verdict.GAP
        if frame.first < self.next_index:
            # A worker never cuts the same events into other frames, so nothing in it is new,
            # unless it overlaps the end: then the log has the pieces.
            overlaps = frame.next_index > self.next_index
            return Verdict.GAP if overlaps else Verdict.DUPLICATE
        if frame.first > self.next_index:
            return Verdict.GAP
        if frame.attempt > self.joined:
            self.joined = frame.attempt
        self._move(frame)
        return Verdict.DELIVER

    def _snapshot(self, frame: Frame) -> Verdict:
        if frame.first <= self.next_index:
            return Verdict.QUIET
        # It holds all that its attempt goes on from, which may not be what was relayed.
        return Verdict.GAP if self.unjoined(frame.attempt) else Verdict.BRIDGE

    def _from(self, frame: Frame) -> Verdict:
        if frame.attempt <= self.joined:
            # Read again, in the log.
            return Verdict.QUIET
        if self.next_index < frame.first:
            return Verdict.GAP
        relayed = (self.next_index, self.text_length, self.thinking_length)
        if relayed != (frame.first, frame.text_length, frame.thinking_length):
            return Verdict.DIVERGED
        self.joined, self.joined_at = frame.attempt, frame.first
        return Verdict.SEAM

    def _move(self, frame: Frame) -> None:
        self.next_index = frame.next_index
        self.text_length = frame.text_length
        self.thinking_length = frame.thinking_length
