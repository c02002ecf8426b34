"""A worker with a client of its own making, which says what no library would."""

import asyncio
import json

from shared.contracts.identities import Identity
from shared.nkey_seeds import public_key, read_seed, signature
from tests.support.nats_keys import seed_file
from tests.support.nats_server import NatsServer


async def publish_raw(
    server: NatsServer, subject: bytes, head: bytes, words: bytes, *, reply: bytes = b""
) -> None:
    """Publish, as a worker, exactly these bytes; the broker has them when this returns."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    hello = json.loads((await reader.readline()).removeprefix(b"INFO "))
    seed = read_seed(seed_file(Identity.WORKER))
    known_as = {
        "nkey": public_key(seed), "sig": signature(seed, hello["nonce"]), "headers": True,
        "verbose": False, "pedantic": False, "protocol": 1,
    }  # fmt: skip
    writer.write(f"CONNECT {json.dumps(known_as)}\r\n".encode())
    places = b" ".join(filter(None, (subject, reply)))
    writer.write(b"HPUB %b %d %d\r\n" % (places, len(head), len(head) + len(words)))
    writer.write(head + words + b"\r\nPING\r\n")
    while (line := await reader.readline()) != b"PONG\r\n":
        assert line, "the broker has closed the connection"
        assert not line.startswith(b"-ERR"), line
    writer.close()
