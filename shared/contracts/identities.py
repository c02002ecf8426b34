"""Who connects to the broker: one identity per service, with a key and an inbox of its own."""

from enum import StrEnum
from typing import Final

_INBOX: Final = "_INBOX_"
WORKERS_ANSWER: Final = f"{_INBOX}workers_answer"
"""Where workers answer gateways. Not in the gateways' inboxes: there they could answer in the name
of history and of the broker, too."""


class Identity(StrEnum):
    """A user of the broker. What each may do is in ``deploy.nats.permissions``."""

    PROVISIONER = "provisioner"
    GATEWAY = "gateway"
    WORKER = "worker"
    HISTORY = "history"
    OPERATOR = "operator"
    """The commands of whoever owns the data directory, past all gateways."""

    @property
    def inbox(self) -> str:
        """Where replies to it go; nobody else may listen there."""
        return f"{_INBOX}{self.value}"


def is_inbox(reply: str) -> bool:
    """Whether somebody waits there for an answer; the broker's own messages name no such place."""
    return reply.startswith(_INBOX)
