"""The ring of keys fails closed, and believes nothing after a revocation."""

from datetime import timedelta

import pytest

from services.api.access.caller import Caller
from services.api.access.key_ring import KeyRing
from services.api.access.presence import Presence
from services.api.access.refusals import KeysNotLoaded, NotAuthenticated
from shared.contracts.api_keys import KeyCopy, digest_of, unknown_copy
from shared.contracts.ids import UserId
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import FakeClock

SECRET = f"pk-{'Ab3-_' * 8}xyz"
DIGEST = digest_of(SECRET)
ALICE = UserId("alice")
COPY = KeyCopy(id="k1", user_id=ALICE, roles=["admin"], models=["llama*"], concurrent=2)
REVOKED = COPY.model_copy(update={"revoked": True})


class Connection:
    """To a broker that a test takes away."""

    def __init__(self) -> None:
        self.number: int | None = 1

    def __call__(self) -> int | None:
        return self.number


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def ring(connection: Connection) -> KeyRing:
    return KeyRing(FakeClock(), connection)


def test_nobody_is_let_in_before_all_of_it_is_read(ring: KeyRing) -> None:
    ring.hear(DIGEST, COPY)
    with pytest.raises(KeysNotLoaded):
        ring.find(SECRET)
    ring.begin()
    ring.replace({DIGEST: COPY}, 1)
    caller = ring.find(SECRET)
    assert (caller.user_id, caller.key_id, caller.models) == (ALICE, "k1", ("llama*",))
    assert caller.roles == {"admin"}
    assert (caller.allowance.concurrent, caller.allowance.requests_per_minute) == (2, None)


@pytest.mark.parametrize("now", [None, 2])
def test_it_is_not_believed_over_another_connection(
    ring: KeyRing, connection: Connection, now: int | None
) -> None:
    ring.replace({DIGEST: COPY}, 1)
    connection.number = now
    with pytest.raises(KeysNotLoaded):
        ring.find(SECRET)
    assert not ring.loaded


def test_what_was_read_for_an_older_connection_does_not_count(
    ring: KeyRing, connection: Connection
) -> None:
    connection.number = 2
    ring.replace({DIGEST: COPY}, 1)
    with pytest.raises(KeysNotLoaded):
        ring.find(SECRET)


def test_a_revocation_that_overtakes_the_reading_wins(ring: KeyRing) -> None:
    ring.begin()
    ring.hear(DIGEST, REVOKED)
    ring.replace({DIGEST: COPY}, 1)
    ring.hear(DIGEST, COPY)
    with pytest.raises(NotAuthenticated):
        ring.find(SECRET)


def test_a_key_that_history_does_not_know_ends_and_comes_back_when_it_does(ring: KeyRing) -> None:
    gone: list[str] = []
    ring.call_when_gone(gone.append)
    ring.replace({DIGEST: COPY}, 1)

    ring.hear(DIGEST, unknown_copy("k1"))
    with pytest.raises(NotAuthenticated, match="not valid"):
        ring.find(SECRET)
    assert gone == ["k1"]
    assert not ring.lives("k1")
    ring.replace({DIGEST: unknown_copy("k1")}, 1)
    with pytest.raises(NotAuthenticated):
        ring.find(SECRET)

    ring.hear(DIGEST, COPY)
    assert ring.find(SECRET).user_id == ALICE


def test_a_key_that_is_made_during_the_reading_stays(ring: KeyRing) -> None:
    ring.begin()
    ring.hear(DIGEST, COPY)
    ring.replace({}, 1)
    assert ring.find(SECRET).user_id == ALICE


def test_a_key_that_is_no_longer_there_lets_nobody_in_until_it_is_there_again(
    ring: KeyRing,
) -> None:
    gone: list[str] = []
    ring.call_when_gone(gone.append)
    ring.replace({DIGEST: COPY}, 1)
    ring.begin()
    ring.replace({}, 1)
    assert gone == ["k1"]
    assert not ring.lives("k1")
    with pytest.raises(NotAuthenticated):
        ring.find(SECRET)
    ring.begin()
    ring.replace({DIGEST: COPY}, 1)
    assert ring.find(SECRET).user_id == ALICE
    assert ring.lives("k1")


@pytest.mark.parametrize(
    "token", ["", "pk-", DIGEST, f"pk-{DIGEST}", f"{SECRET}x", SECRET[:-1], "x" * 100_000]
)
def test_only_the_key_itself_lets_somebody_in(ring: KeyRing, token: str) -> None:
    ring.replace({DIGEST: COPY, digest_of(""): COPY}, 1)
    with pytest.raises(NotAuthenticated):
        ring.find(token)


@pytest.mark.parametrize(("left", "valid"), [(1, True), (0, False), (-1, False)])
def test_a_key_is_valid_until_its_moment(ring: KeyRing, left: int, valid: bool) -> None:
    until = NOON + timedelta(microseconds=left)
    ring.replace({DIGEST: COPY.model_copy(update={"expires_at": until})}, 1)
    if valid:
        assert ring.find(SECRET).expires_at == until
        return
    with pytest.raises(NotAuthenticated, match="expired"):
        ring.find(SECRET)


async def test_who_comes_with_a_key_that_was_just_revoked_does_not_stay(ring: KeyRing) -> None:
    ring.replace({DIGEST: COPY}, 1)
    presence = Presence(FakeClock(), lives=ring.lives, departing=lambda _user: False)
    ring.call_when_gone(presence.key_gone)
    ends: list[str] = []
    caller = ring.find(SECRET)
    here = presence.enter(caller, lambda: ends.append("here"))
    left = presence.enter(caller, lambda: ends.append("left"))
    presence.leave(caller, left)
    ring.hear(DIGEST, REVOKED)
    late = presence.enter(caller, lambda: ends.append("late"))
    assert ends == ["here", "late"]
    assert here.over
    assert late.over
    assert not left.over
    presence.leave(caller, late)


async def test_an_expiry_ends_who_may_not_stay_and_nobody_else() -> None:
    presence = Presence(FakeClock(), lives=lambda _key: True, departing=lambda _user: False)
    caller = Caller(ALICE, expires_at=NOON)
    ends: list[str] = []
    presence.enter(caller, lambda: ends.append("stream"))
    presence.enter(caller, lambda: ends.append("socket"), until_expiry=True)
    assert ends == ["socket"]


@pytest.mark.parametrize(
    ("pattern", "model", "fits"),
    [
        ("*", "anything:1b", True),
        ("llama*", "llama3.2:1b", True),
        ("llama*", "hf.co/llama", False),
        ("demo", "demo", True),
        ("demo", "demo:latest", True),
        ("demo:latest", "demo", True),
        ("demo", "demo:1b", False),
        ("demo", "Demo", False),
        ("hf.co/*", "hf.co/a/b:Q4", True),
        ("dem?", "demo", True),
        ("[a-c]*", "demo", False),
    ],
)
def test_patterns_name_models_with_and_without_their_tag(
    pattern: str, model: str, fits: bool
) -> None:
    assert Caller(ALICE, models=(pattern,)).may_ask(model) is fits
