"""Messages that nobody has said: what the broker has copied out of a stream.

The broker answers a Direct Get where the asker wants it, on any subject, with the bytes that are
stored: who may write to one stream and read it could have the broker repeat his words where he may
not publish. Such an answer says which stream it is from; a message that was published does not.
"""

from collections.abc import Mapping
from typing import Final

_FROM: Final = "Nats-Stream"


def is_copy(headers: Mapping[str, object] | None) -> bool:
    """Whether a message that is to be obeyed was none: only its headers tell."""
    return headers is not None and _FROM in headers
