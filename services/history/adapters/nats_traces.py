"""``Traces`` and ``PurgeWords`` on JetStream.

Subjects name completions and sessions, not users: what belongs to one is found by reading. Of
frames, which say nothing of their user, by the ids of the completions.
"""

import re
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from itertools import product
from typing import Final

import orjson

from services.history.user_ports import Word
from shared.contracts import streams, subjects
from shared.contracts.holders import holder_of
from shared.contracts.ids import CompletionId, UserId, is_completion_id
from shared.contracts.jetstream_api import bucket_key, stream_info, stream_purge
from shared.contracts.user_purge import OVER, UNDER_WAY, WORD
from shared.errors import BrokerUnavailable
from shared.messaging.buckets import Bucket
from shared.messaging.jetstream import AlreadyPublished, ApiError, JetStream, StoredMessage

_SAID_FOR: Final = 3600.0
_LONGEST_ANSWER: Final = 24 * 3600 * 1000
"""Milliseconds: more than any request waits and runs; frames come as late as that."""
_OWNED: Final = (streams.TURNS, streams.IDEMPOTENCY)
_COUNTED: Final = (streams.LIMITS, streams.BUDGETS)


class NatsTraces:
    """See the port."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def frames_since(self, now: int) -> int:
        """See the port."""
        info = await self._jetstream.api(stream_info(streams.CHUNKS))
        kept = int(info["config"].get("max_age", 0)) // 1_000_000
        return now - kept - _LONGEST_ANSWER if kept else 0

    async def remove_events(self, user_id: UserId) -> dict[CompletionId, bool]:
        """See the port."""
        found: dict[CompletionId, bool] = {}
        gone: list[str] = []
        async for message in self._of(user_id, streams.EVENTS, subjects.EVENTS):
            gone.append(message.subject)
            completion_id = CompletionId(message.subject.rpartition(".")[2])
            ended = message.subject == subjects.completed(completion_id)
            found[completion_id] = ended or found.get(completion_id, False)
        for subject in gone:
            await self._purge(streams.EVENTS, subject)
        return found

    async def remove_frames(self, completions: Collection[CompletionId]) -> None:
        """See the port."""
        for completion_id in sorted(completions):
            if is_completion_id(completion_id):
                await self._purge(streams.CHUNKS, subjects.followed(completion_id))

    async def remove_entries(self, user_id: UserId, key_ids: Sequence[str]) -> None:
        """See the port."""
        for bucket in _OWNED:
            stream, keys = streams.bucket_stream(bucket), bucket_key(bucket, ">")
            entries = [it.subject async for it in self._of(user_id, stream, keys)]
            for subject in entries:
                await self._purge(stream, subject)
        for key_id in (None, *key_ids):
            holder = holder_of(user_id, key_id)
            for bucket, keys in product(_COUNTED, (f"*.{holder}", f"*.{holder}.>")):
                await self._purge(streams.bucket_stream(bucket), bucket_key(bucket, keys))

    async def remove_dead_letters(self, user_id: UserId) -> None:
        """See the port."""
        found = self._of(user_id, streams.DEAD_LETTERS, subjects.DEAD_LETTERS)
        for sequence in [it.sequence async for it in found]:
            await self._jetstream.delete(streams.DEAD_LETTERS, sequence)

    async def remove_requests(self, user_id: UserId) -> list[CompletionId]:
        """See the port."""
        found = self._of(user_id, streams.REQUESTS, subjects.REQUESTS)
        requests = [(it.sequence, _field(it.data, "completion_id")) async for it in found]
        for sequence, _ in requests:
            await self._jetstream.delete(streams.REQUESTS, sequence)
        return [CompletionId(str(completion_id)) for _, completion_id in requests]

    async def _of(
        self, user_id: UserId, stream: str, subject: str
    ) -> AsyncGenerator[StoredMessage]:
        is_theirs = _by(user_id)
        async with aclosing(self._jetstream.replay(stream, subject)) as messages:
            async for message in messages:
                if is_theirs(message.data):
                    yield message

    async def _purge(self, stream: str, subject: str) -> None:
        await self._jetstream.api(stream_purge(stream), {"filter": subject})


class NatsPurgeWords:
    """See the port."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream
        self._bucket = Bucket(jetstream, streams.KEYS)

    async def under_way(self, digest: str) -> None:
        """See the port."""
        with _border():
            await self._bucket.put(WORD + digest, UNDER_WAY)

    async def find(self, digest: str) -> Word | None:
        """See the port."""
        with _border():
            said = await self._bucket.get(WORD + digest)
        return Word(said.value == UNDER_WAY, said.revision) if said is not None else None

    async def say(self, digest: str, after: Word | None) -> bool:
        """See the port."""
        with _border():
            try:
                if after is None:
                    await self._bucket.create(WORD + digest, UNDER_WAY)
                else:
                    await self._bucket.update(WORD + digest, UNDER_WAY, after.revision)
            except AlreadyPublished:
                return False
        return True

    async def said(self) -> Mapping[str, int]:
        """See the port."""
        before = len(self._bucket.subject(WORD))
        said: dict[str, int] = {}
        with _border():
            words = self._jetstream.replay(
                streams.bucket_stream(streams.KEYS), self._bucket.subject(f"{WORD}*")
            )
            async for word in words:
                if word.data == UNDER_WAY:
                    said[word.subject[before:]] = word.sequence
        return said

    async def take_back(self, digest: str, revision: int) -> bool:
        """See the port."""
        with _border():
            try:
                await self._bucket.update(WORD + digest, OVER, revision, ttl=_SAID_FOR)
            except AlreadyPublished:
                return False
        return True


@contextmanager
def _border() -> Generator[None]:
    try:
        yield
    except ApiError as error:
        message = f"NATS refused: {error.description}"
        raise BrokerUnavailable(message) from error


def _by(user_id: UserId) -> Callable[[bytes], bool]:
    """Whether a message says that it is this user's, also where it is no whole JSON any more.

    The quotes around the name make sure that no text is taken for it: there they are escaped.
    """
    name = orjson.dumps(user_id)
    said = re.compile(rb'"user_id"\s*:\s*' + re.escape(name))

    def is_theirs(data: bytes) -> bool:
        if name not in data:
            return False
        owner = _field(data, "user_id")
        return owner == user_id if owner is not None else said.search(data) is not None

    return is_theirs


def _field(data: bytes, name: str) -> object:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value.get(name) if isinstance(value, dict) else None
