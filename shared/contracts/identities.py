"""Who connects to the broker: one identity per service, with a key and an inbox of its own."""

from enum import StrEnum


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
        return f"_INBOX_{self.value}"
