"""What an idempotency key comes to: one completion, whoever comes with it and when."""

import asyncio

import pytest

from services.api.completions.idempotency import Claim, Idempotency, Standing, check_key, digest_of
from services.api.ports.keys import KeyEntry
from shared.contracts.chat import CompletionStatus
from shared.contracts.events import CompletionAccepted, CompletionCompleted
from shared.contracts.ids import CompletionId, UserId, new_completion_id
from shared.errors import InvalidRequest, KeyReused
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import FakeClock, FakeJournal, FakeKeys, FakeTombstones, SetClock
from tests.support.waiting import eventually

USER = UserId("local")


class Scene:
    def __init__(self) -> None:
        self.keys, self.journal, self.marks = FakeKeys(), FakeJournal(), FakeTombstones()
        self.clock = SetClock()
        self.idempotency = Idempotency(self.keys, self.marks, self.journal, FakeClock())
        self.impatient = Idempotency(self.keys, self.marks, self.journal, self.clock)

    async def claim(self, *, body: str = "b", user: UserId = USER) -> Claim:
        entry = KeyEntry(completion_id=new_completion_id(), body=body, created_at=NOON)
        return await self.idempotency.claim(user, "key", entry)

    async def accept(self, completion_id: CompletionId) -> None:
        await self.journal.accept(
            CompletionAccepted(
                completion_id=completion_id,
                user_id=USER,
                model="demo",
                accepted_at=NOON,
                overdue_after_s=1,
            )
        )

    async def end(self, completion_id: CompletionId, status: CompletionStatus) -> None:
        await self.journal.complete(
            CompletionCompleted(
                completion_id=completion_id,
                user_id=USER,
                model="demo",
                status=status,
                created_at=NOON,
                completed_at=NOON,
            )
        )


async def test_a_new_key_is_ours_and_another_users_same_key_is_another() -> None:
    scene = Scene()
    first, theirs = await scene.claim(), await scene.claim(user=UserId("else"))
    assert first.standing is theirs.standing is Standing.OURS
    assert first.completion_id != theirs.completion_id
    assert await scene.idempotency.find(USER, "key") == first.completion_id
    assert await scene.idempotency.find(USER, "other") is None


async def test_a_key_that_comes_again_follows_what_it_began() -> None:
    scene = Scene()
    first = await scene.claim()
    await scene.accept(first.completion_id)
    again = await scene.claim()
    assert (again.standing, again.completion_id) == (Standing.RUNNING, first.completion_id)
    await scene.end(first.completion_id, CompletionStatus.COMPLETED)
    ended = await scene.claim()
    assert (ended.standing, ended.completion_id) == (Standing.ENDED, first.completion_id)


async def test_another_body_is_refused() -> None:
    scene = Scene()
    await scene.claim()
    with pytest.raises(KeyReused):
        await scene.claim(body="other")


@pytest.mark.parametrize(
    "status", [CompletionStatus.FAILED, CompletionStatus.REJECTED, CompletionStatus.EXPIRED]
)
async def test_what_came_to_nothing_runs_anew(status: CompletionStatus) -> None:
    scene = Scene()
    first = await scene.claim()
    await scene.accept(first.completion_id)
    await scene.end(first.completion_id, status)
    again = await scene.claim()
    assert again.standing is Standing.OURS
    assert again.completion_id != first.completion_id


@pytest.mark.parametrize("asked", [True, False])
async def test_a_cancelled_one_stands_only_if_somebody_asked_for_that(asked: bool) -> None:
    scene = Scene()
    first = await scene.claim()
    await scene.accept(first.completion_id)
    await scene.marks.put(first.completion_id, asked=asked)
    await scene.end(first.completion_id, CompletionStatus.CANCELLED)
    again = await scene.claim()
    assert again.standing is (Standing.ENDED if asked else Standing.OURS)


async def test_one_that_is_about_to_end_for_want_of_a_client_is_waited_for() -> None:
    scene = Scene()
    first = await scene.claim()
    await scene.accept(first.completion_id)
    await scene.marks.put(first.completion_id)
    claiming = asyncio.create_task(scene.claim())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(claiming), 0.1)
    await scene.end(first.completion_id, CompletionStatus.CANCELLED)
    assert (await claiming).standing is Standing.OURS


async def test_a_writer_that_never_accepts_is_replaced_by_exactly_one_under_the_same_id() -> None:
    scene = Scene()
    dead = await scene.claim()

    async def come() -> Claim:
        entry = KeyEntry(completion_id=new_completion_id(), body="b", created_at=NOON)
        claim = await scene.impatient.claim(USER, "key", entry)
        if claim.standing is Standing.OURS:
            await scene.accept(claim.completion_id)
        return claim

    coming = [asyncio.create_task(come()) for _ in range(5)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(coming[0]), 0.1)
    scene.clock.time += 2.1
    claims = await asyncio.gather(*coming)
    assert {claim.completion_id for claim in claims} == {dead.completion_id}
    assert [claim.standing for claim in claims].count(Standing.OURS) == 1
    # The one that was only slow finds its key renewed: what it releases is not its any more.
    await scene.idempotency.release(dead)
    assert await scene.idempotency.find(USER, "key") == dead.completion_id


async def test_a_refused_request_frees_its_key() -> None:
    scene = Scene()
    first = await scene.claim()
    await scene.idempotency.release(first)
    assert (await scene.claim()).completion_id != first.completion_id


async def test_who_took_a_key_over_and_was_refused_leaves_it_to_who_had_it_before() -> None:
    scene = Scene()
    slow = await scene.claim()
    reads = scene.keys.reads
    second = asyncio.create_task(
        scene.impatient.claim(
            USER, "key", KeyEntry(completion_id=new_completion_id(), body="b", created_at=NOON)
        )
    )
    await eventually(lambda: scene.keys.reads > reads)
    scene.clock.time += 3
    taken = await asyncio.wait_for(second, 2)
    assert taken.completion_id == slow.completion_id

    await scene.idempotency.release(taken)
    await scene.accept(slow.completion_id)

    again = await scene.claim()
    assert (again.standing, again.completion_id) == (Standing.RUNNING, slow.completion_id)


@pytest.mark.parametrize("key", ["a", "x" * 255, "key with spaces", "~!@#$%^&*()"])
def test_a_key_is_printable_ascii(key: str) -> None:
    assert check_key([key]) == key
    assert check_key([]) is None


@pytest.mark.parametrize(
    "values", [[""], [" "], ["x" * 256], ["é"], ["a\tb"], ["a\x7f"], ["a", "b"], ["ключ"]]
)
def test_anything_else_is_no_key(values: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_key(values)
    assert refused.value.param == "Idempotency-Key"


def test_equal_bodies_have_one_digest_whatever_their_spaces_and_order() -> None:
    assert digest_of(b'{"a": 1, "b": [1, 2]}') == digest_of(b'{"b":[1,2],"a":1}')
    assert digest_of(b'{"a": [1, 2]}') != digest_of(b'{"a": [2, 1]}')
