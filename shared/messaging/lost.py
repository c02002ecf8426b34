"""What sending over a connection raises that is gone, or about to be."""

from typing import Final

import nats.errors

LOST: Final = (nats.errors.Error, OSError, RuntimeError)
"""nats-py may write to a transport that has just closed: asyncio calls that an ``OSError``, uvloop
a ``RuntimeError`` ("the handler is closed"). What it was to send waits for the next connection.
"""
