"""Where messages stand in the tree of their session."""

from dataclasses import dataclass

from shared.contracts.ids import MessageId


@dataclass(frozen=True)
class Node:
    """A message without its text: enough to find a branch and to cut it into pages."""

    id: MessageId
    parent_id: MessageId | None
    depth: int
    turn: int
    size: int


@dataclass(frozen=True)
class Leaf:
    """The end of a turn, as text that sorts: later turns first, then answers before questions."""

    turn: int
    answered: bool
    message_id: MessageId

    def __str__(self) -> str:
        return f"{self.turn:010d}|{int(self.answered)}|{self.message_id}"

    @classmethod
    def parse(cls, text: str) -> "Leaf":
        """Read what ``str`` made."""
        turn, answered, message = text.split("|", 2)
        return cls(int(turn), answered == "1", MessageId(message))
