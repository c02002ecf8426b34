"""nats-py's client, without two ways in which it loses connections.

nats-py 2.16 drops the transport of a try that fails after the TCP connection stands: a key that is
refused, a broker that dies in the handshake. Such a socket stays open until the garbage collector
finds it: for as long as a key is refused, one more each second.

And it ends its reading for good, connected as it is, when a message comes whose subject, reply or
status is not UTF-8: whoever may publish where somebody listens, or into a stream that is read
again, could silence him.
"""

from typing import Any, Final

import structlog
from nats.aio.client import Client

_VERSION: Final = b"NATS/1.0"

log = structlog.stdlib.get_logger(__name__)


class TidyClient(Client):
    """See the module; to be used like its base."""

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
            raise

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        if not (_is_text(subject) and _is_text(reply)):
            # No service has said it, but out of a stream it comes until whoever reads it drops it.
            log.error("message_unreadable", size=len(data))
            subject = subject.decode(errors="replace").encode()
            reply = reply if _is_text(reply) else b""
        await super()._process_msg(sid, subject, reply, data, headers)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            # Without its status, but with what the broker has written behind that.
            lines = headers.removeprefix(_VERSION).partition(b"\r\n")[2]
            return self._parse_header_lines(lines) or None


def _is_text(place: bytes) -> bool:
    try:
        place.decode()
    except UnicodeDecodeError:
        return False
    return True


async def connect(servers: str | list[str], **options: Any) -> Client:  # noqa: ANN401 - as nats-py
    """``nats.connect``, with such a client."""
    client = TidyClient()
    await client.connect(servers, **options)
    return client
