"""``KeyCopies`` over the bucket ``keys``."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from pydantic import ValidationError

from services.history.key_ports import Held
from shared.contracts import streams
from shared.contracts.api_keys import COMPLETE, COPY, IS_COMPLETE, KeyCopy
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket, is_gone
from shared.messaging.jetstream import AlreadyPublished, ApiError, JetStream


class NatsKeyCopies:
    """History is the only one who may write there."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._bucket = Bucket(jetstream, streams.KEYS)
        self._subject = self._bucket.subject(f"{COPY}*")
        self._prefix = len(self._subject) - 1

    async def read(self) -> Mapping[str, Held]:
        """See the port."""
        held: dict[str, Held] = {}
        with _border():
            stream = streams.bucket_stream(streams.KEYS)
            async for stored in self._jetstream.replay(stream, self._subject):
                if not is_gone(stored.headers):
                    digest = stored.subject[self._prefix :]
                    held[digest] = Held(_copy(stored.data), stored.sequence)
        return held

    async def create(self, digest: str, copy: KeyCopy) -> bool:
        """See the port."""
        with _border():
            try:
                await self._bucket.create(f"{COPY}{digest}", copy.to_bytes())
            except AlreadyPublished:
                return False
        return True

    async def replace(self, digest: str, copy: KeyCopy, revision: int) -> bool:
        """See the port."""
        with _border():
            try:
                await self._bucket.update(f"{COPY}{digest}", copy.to_bytes(), revision)
            except AlreadyPublished:
                return False
        return True

    async def put(self, digest: str, copy: KeyCopy) -> None:
        """See the port."""
        with _border():
            await self._bucket.put(f"{COPY}{digest}", copy.to_bytes())

    async def is_complete(self) -> bool:
        """See the port."""
        with _border():
            said = await self._bucket.get(COMPLETE)
        return said is not None and said.value == IS_COMPLETE

    async def say_complete(self) -> None:
        """See the port."""
        with _border():
            await self._bucket.put(COMPLETE, IS_COMPLETE)


@contextmanager
def _border() -> Generator[None]:
    try:
        yield
    except ApiError as error:
        message = f"NATS refused: {error.description}"
        raise BrokerUnavailable(message) from error


def _copy(data: bytes) -> KeyCopy | None:
    try:
        return KeyCopy.from_bytes(data)
    except ValidationError:
        return None
