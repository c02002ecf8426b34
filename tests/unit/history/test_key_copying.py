"""The copy of the keys follows the record, and a revocation outlives everything."""

import asyncio

import pytest

from services.history.api_keys import ApiKeys
from services.history.key_copying import KeyCopying
from services.history.key_records import KeyRecord
from shared.clock import utc_now
from shared.contracts.api_keys import CreateKey, KeyCopy, RevokeKey, new_key_id
from shared.contracts.ids import UserId
from shared.errors import BrokerUnavailable, HistoryUnavailable, InvalidRequest
from tests.fakes.history.memory_keys import MemoryKeyCopies, MemoryKeyStore
from tests.fakes.history.memory_store import MemoryStore


class Scene:
    """A record, a copy, and a clock that a test moves."""

    def __init__(self) -> None:
        self.store, self.copies = MemoryKeyStore(), MemoryKeyCopies()
        self.users = MemoryStore()
        self.keys = ApiKeys(self.store, self.copies, self.users, now=utc_now, doubted=self.doubt)
        self.time = 0.0
        self.copying = KeyCopying(
            self.store, self.copies, clock=lambda: self.time, before=self.before
        )
        self.said_before: list[bool] = []

    async def before(self) -> None:
        self.said_before.append(self.copies.complete)

    def copy(self, digest: str) -> KeyCopy | None:
        return self.copies.held[digest].copy if digest in self.copies.held else None

    def doubt(self) -> None:
        self.copying.doubt()

    def revoked(self, digest: str) -> bool:
        copy = self.copy(digest)
        assert copy is not None
        return copy.revoked


class RevokedWhileRead(MemoryKeyStore):
    """Somebody revokes each key between its reading and its copying."""

    def __init__(self, store: MemoryKeyStore, keys: ApiKeys) -> None:
        super().__init__()
        self.keys = store.keys
        self._revoking = keys

    async def page(self, user_id: UserId | None, limit: int, after: str | None) -> list[KeyRecord]:
        read = await super().page(user_id, limit, after)
        for record in read:
            await self._revoking.revoke(RevokeKey(key_id=record.id))
        return read


@pytest.fixture
def scene() -> Scene:
    return Scene()


def command(number: int = 1, key_id: str | None = None) -> CreateKey:
    return CreateKey(
        user_id=UserId("alice"),
        key_id=key_id or new_key_id(),
        digest=f"{number:064x}",
        prefix="pk-abcdefgh",
    )


async def test_an_empty_copy_is_filled_before_it_is_called_complete(scene: Scene) -> None:
    made = [command(number) for number in range(1, 301)]
    for each in made:
        await scene.keys.create(each)
    await scene.keys.revoke(RevokeKey(key_id=made[0].key_id))
    await scene.copying.mend()
    assert scene.copies.complete

    scene.copies.held.clear()
    scene.copies.complete = False
    await scene.copying.mend()
    assert scene.copies.complete
    assert set(scene.copies.held) == {each.digest for each in made}
    assert scene.revoked(made[0].digest)
    assert not scene.revoked(made[1].digest)


async def test_it_is_not_called_complete_while_the_record_cannot_be_read(scene: Scene) -> None:
    scene.store.available = False
    with pytest.raises(HistoryUnavailable):
        await scene.copying.mend()
    assert not scene.copies.complete


async def test_a_revocation_that_did_not_reach_the_copy_is_told_and_made_good(
    scene: Scene,
) -> None:
    made = command()
    await scene.keys.create(made)
    await scene.copying.mend()
    scene.copies.available = False
    with pytest.raises(HistoryUnavailable):
        await scene.keys.revoke(RevokeKey(key_id=made.key_id))
    with pytest.raises(BrokerUnavailable):
        await scene.copying.mend()
    scene.copies.available = True
    assert not scene.revoked(made.digest)

    # At once, although it is complete and was looked at just now.
    await scene.copying.mend()
    assert scene.revoked(made.digest)


async def test_a_revocation_whose_time_is_over_before_it_is_copied_is_made_good_at_once(
    scene: Scene,
) -> None:
    made = command()
    await scene.keys.create(made)
    await scene.copying.mend()
    scene.copies.hangs = True
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(scene.keys.revoke(RevokeKey(key_id=made.key_id)), 0.01)
    scene.copies.hangs = False
    assert not scene.revoked(made.digest)

    await scene.copying.mend()
    assert scene.revoked(made.digest)


async def test_what_differs_without_a_word_is_found_within_a_minute(scene: Scene) -> None:
    made = command()
    await scene.keys.create(made)
    await scene.copying.mend()
    await scene.store.revoke(made.key_id, 1)
    await scene.copying.mend()
    assert not scene.revoked(made.digest), "complete, and looked at just now"
    scene.time += 60
    await scene.copying.mend()
    assert scene.revoked(made.digest)


async def test_repeating_a_revocation_reaches_the_copy_at_once(scene: Scene) -> None:
    made = command()
    await scene.keys.create(made)
    scene.copies.available = False
    with pytest.raises(HistoryUnavailable):
        await scene.keys.revoke(RevokeKey(key_id=made.key_id))
    scene.copies.available = True
    await scene.keys.revoke(RevokeKey(key_id=made.key_id))
    assert scene.revoked(made.digest)


async def test_a_database_that_was_set_back_brings_no_revoked_key_back(scene: Scene) -> None:
    made = command()
    await scene.keys.create(made)
    before = dict(scene.store.keys)
    await scene.keys.revoke(RevokeKey(key_id=made.key_id))
    scene.store.keys = before
    await scene.copying.mend()
    assert scene.revoked(made.digest)


async def test_a_revocation_while_the_copy_is_mended_wins(scene: Scene) -> None:
    made = command()
    await scene.keys.create(made)
    scene.copies.held.clear()
    racing = RevokedWhileRead(scene.store, scene.keys)
    await KeyCopying(racing, scene.copies, clock=lambda: 0.0, before=scene.before).mend()
    assert scene.revoked(made.digest)


async def test_a_copy_without_a_record_lets_nobody_in(scene: Scene) -> None:
    forged = KeyCopy(id="k", user_id=UserId("root"), roles=["admin"])
    await scene.copies.put("f" * 64, forged)
    await scene.copying.mend()
    held = scene.copies.held["f" * 64]
    assert held.copy is not None
    assert held.copy.is_unknown()
    assert held.copy.expires_at is not None
    assert held.copy.expires_at < utc_now(), "older gateways refuse it for that"
    assert held.copy.roles == []

    scene.time += 60
    await scene.copying.mend()
    assert scene.copies.held["f" * 64] == held, "it is not written again"


async def test_keys_of_a_database_that_was_named_by_mistake_come_back_with_the_right_one(
    scene: Scene,
) -> None:
    living, ended = command(1), command(2)
    await scene.keys.create(living)
    await scene.keys.create(ended)
    await scene.keys.revoke(RevokeKey(key_id=ended.key_id))
    before = scene.copy(living.digest)
    right, wrong = scene.store.keys, dict[str, KeyRecord]()

    scene.store.keys = wrong
    await scene.copying.mend()
    copy = scene.copy(living.digest)
    assert copy is not None
    assert copy.is_unknown()
    assert copy.user_id != "alice"
    assert scene.revoked(ended.digest)

    scene.store.keys = right
    scene.time += 60
    await scene.copying.mend()
    assert scene.copy(living.digest) == before
    assert scene.revoked(ended.digest)


async def test_a_copy_that_says_more_than_the_record_is_put_right(scene: Scene) -> None:
    made = command()
    await scene.keys.create(made)
    copy = scene.copy(made.digest)
    assert copy is not None
    await scene.copies.put(made.digest, copy.model_copy(update={"roles": ["admin"]}))
    await scene.copying.mend()
    assert scene.copy(made.digest) == copy


async def test_an_id_names_one_key(scene: Scene) -> None:
    first = command()
    await scene.keys.create(first)
    again = await scene.keys.create(first)
    assert again.key is not None
    with pytest.raises(InvalidRequest):
        await scene.keys.create(command(2, key_id=first.key_id))
    with pytest.raises(InvalidRequest):
        await scene.keys.create(command(3, key_id="../*"))
