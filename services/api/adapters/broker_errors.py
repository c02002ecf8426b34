"""JetStream's refusals in the words of the ports."""

from collections.abc import Generator
from contextlib import contextmanager

import structlog

from shared.errors import BrokerUnavailable
from shared.messaging.jetstream import ApiError

log = structlog.stdlib.get_logger(__name__)


@contextmanager
def refusals_mean_unavailable() -> Generator[None]:
    """What the port has no better word for: a missing stream, no storage, a cluster's election."""
    try:
        yield
    except ApiError as error:
        log.warning("nats_refused", error=error.description)
        raise BrokerUnavailable("The message broker refused this; try again later.") from error
