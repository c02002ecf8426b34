"""JetStream's refusals in the words of the ports."""

from collections.abc import Generator
from contextlib import contextmanager

from shared.errors import BrokerUnavailable
from shared.messaging.jetstream import ApiError


@contextmanager
def refusals_mean_unavailable() -> Generator[None]:
    """What the port has no better word for: a missing stream, no storage, a cluster's election."""
    try:
        yield
    except ApiError as error:
        message = f"NATS refused: {error.description}"
        raise BrokerUnavailable(message) from error
