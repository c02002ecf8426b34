"""A question to history: its name, its shape and that of its reply, for both sides."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.contracts.history import Reply
from shared.contracts.wire import WireModel

Q = TypeVar("Q", bound=WireModel)
R = TypeVar("R", bound=Reply)


@dataclass(frozen=True, slots=True)
class Question(Generic[Q, R]):
    """What may be asked on ``chat.history.<name>``."""

    name: str
    query: type[Q]
    reply: type[R]
    patient: bool = False
    """Whether its answer may first wait for events to be stored."""
    audited: bool = False
    """Whether it is an administrative act: who asks says who they are, and the audit repeats it."""
    bulky: bool = False
    """Whether it is so large that others would wait while it is made: that is for a thread."""
