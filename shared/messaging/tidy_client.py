"""nats-py's client, which closes every connection that it gives up.

nats-py 2.16 drops the transport of a try that fails after the TCP connection stands: a key that is
refused, a broker that dies in the handshake. Such a socket stays open until the garbage collector
finds it: for as long as a key is refused, one more each second.
"""

from typing import Any

from nats.aio.client import Client


class TidyClient(Client):
    """See the module; to be used like its base."""

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
            raise


async def connect(servers: str | list[str], **options: Any) -> Client:  # noqa: ANN401 - as nats-py
    """``nats.connect``, with such a client."""
    client = TidyClient()
    await client.connect(servers, **options)
    return client
