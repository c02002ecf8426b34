"""What one socket is sent: joined, resumed, bounded."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api.schemas.sockets import Pong
from services.api.sockets.outlet import NOT_AUTHENTICATED, SLOW, Outlet
from services.api.sockets.spoken import Piece, Spoken, pieces
from shared.contracts.ids import CompletionId

ONE = CompletionId("chatcmpl-" + "1" * 32)


class Scene:
    def __init__(self, *, full: bool) -> None:
        self.now = 100.0
        self.outlet = Outlet("me", full=full, clock=lambda: self.now)
        self.spoken = Spoken()

    def say(self, *words: str) -> None:
        for word in words:
            self.spoken.add(Piece(self.spoken.index + 1, word, ""))
            self.outlet.progress(ONE, self.spoken)

    async def sent(self) -> list[dict[str, object]]:
        return [json.loads(text) for text in await self.outlet.take(self.now)]


async def test_without_the_full_text_each_piece_goes_at_once() -> None:
    scene = Scene(full=False)
    scene.say("a", "b", "c")
    assert [(m["content"], m["index"]) for m in await scene.sent()] == [
        ("a", 0),
        ("b", 1),
        ("c", 2),
    ]


@pytest.mark.parametrize("words", [100, 1000, 10_000])
async def test_with_the_full_text_all_chunks_together_stay_in_proportion_to_it(words: int) -> None:
    scene = Scene(full=True)
    scene.say(*["word "] * words)
    scene.outlet.progress(ONE, scene.spoken, flush=True)
    sent = await scene.sent()
    assert "".join(str(m["content"]) for m in sent) == scene.spoken.text
    assert sent[-1]["full_content"] == scene.spoken.text
    repeated = sum(len(str(m["full_content"])) for m in sent)
    # 14 to 18 times the text, from 500 characters to 50,000; without joining, half the words times.
    assert repeated < 20 * scene.spoken.length


class Measured:
    """An answer whose pieces come when a test says so, and what its socket was sent of it."""

    def __init__(self) -> None:
        self.scene = Scene(full=True)
        self.repeated = 0
        self.longest_wait = 0.0
        self._waits_since: float | None = None
        self._began = self.scene.now

    async def pass_time(self, seconds: float, word: str = "") -> None:
        """Look once a second, as rooms do, and let a piece come at the end."""
        while seconds > 0:
            step = min(seconds, 1.0)
            seconds -= step
            self.scene.now += step
            await self._look()
        if word:
            self.scene.spoken.add(Piece(self.scene.spoken.index + 1, word, ""))
            if self._waits_since is None:
                self._waits_since = self.scene.now
            await self._look()

    async def factor(self) -> float:
        """How many times the text all chunks together are."""
        self.scene.outlet.progress(ONE, self.scene.spoken, flush=True)
        await self._take()
        return self.repeated / self.scene.spoken.length

    async def _look(self) -> None:
        self.scene.outlet.progress(ONE, self.scene.spoken)
        await self._take()

    async def _take(self) -> None:
        for text in await self.scene.outlet.take(self.scene.now):
            self.scene.outlet.done(text)
            said = json.loads(text)
            self.repeated += len(said["content"]) + len(said["full_content"])
            self._waits_since = None
        if self._waits_since is not None:
            age = self.scene.now - self._began
            waited = self.scene.now - self._waits_since
            # Looked at once a second.
            assert waited <= max(3, age / 8) + 1
            self.longest_wait = max(self.longest_wait, waited)


@settings(max_examples=25, deadline=None)
@given(per_second=st.floats(0.2, 50), seconds=st.floats(5, 600))
async def test_a_steady_engine_however_slow_costs_some_nineteen_times_its_text(
    per_second: float, seconds: float
) -> None:
    measured = Measured()
    for _ in range(max(1, round(per_second * seconds))):
        await measured.pass_time(1 / per_second, "word ")
    assert await measured.factor() < 20


@settings(max_examples=25, deadline=None)
@given(
    pauses=st.lists(
        st.tuples(st.sampled_from([0.01, 0.3, 3.0, 4.0, 20.0, 59.0]), st.integers(1, 40)),
        min_size=1,
        max_size=30,
    ),
    words=st.lists(st.sampled_from(["x", "word ", "y" * 2000]), min_size=1, max_size=8),
)
async def test_an_engine_at_any_pace_costs_at_most_fifty_times_its_text_in_ten_minutes(
    pauses: list[tuple[float, int]], words: list[str]
) -> None:
    measured, left, word = Measured(), 600.0, 0
    for pause, times in pauses:
        for _ in range(times):
            if pause > left:
                break
            left -= pause
            await measured.pass_time(pause, words[word % len(words)])
            word += 1
    await measured.pass_time(0, "end")
    assert await measured.factor() <= 50


async def test_a_long_text_that_only_trickles_on_costs_at_most_fifty_times_itself() -> None:
    measured = Measured()
    await measured.pass_time(0, "x" * 50_000)
    for _ in range(1200):
        await measured.pass_time(0.5, "y")
    assert await measured.factor() < 36
    assert measured.longest_wait <= 76


async def test_what_waits_to_be_joined_does_not_wait_for_long() -> None:
    scene = Scene(full=True)
    scene.say("x" * 1000)
    scene.say("y")
    scene.now += 2
    scene.outlet.progress(ONE, scene.spoken)
    assert len(await scene.sent()) == 1
    scene.now += 2
    scene.outlet.progress(ONE, scene.spoken)
    assert [m["content"] for m in await scene.sent()] == ["y"]


@pytest.mark.parametrize("full", [True, False])
async def test_who_resumes_gets_what_follows_once_it_is_read(full: bool) -> None:
    scene = Scene(full=full)
    scene.outlet.hold(ONE)
    scene.say("a")
    scene.outlet.resume(ONE, 1)
    scene.say("b")
    assert await scene.sent() == []
    scene.say("c")
    (piece,) = await scene.sent()
    assert (piece["content"], piece["resumed"], piece["index"]) == ("c", True, 2)
    scene.say("d" * 9)
    assert "resumed" not in (await scene.sent())[0]


@pytest.mark.parametrize("full", [True, False])
async def test_who_resumes_behind_what_is_only_kept_in_one_piece_is_told_so_and_hears_no_more_of_it(
    full: bool,
) -> None:
    scene = Scene(full=full)
    scene.outlet.resume(ONE, 1)
    scene.spoken.add(Piece(7, "all of it", ""))
    scene.outlet.progress(ONE, scene.spoken, flush=True)
    (error,) = await scene.sent()
    assert (error["type"], error["code"], error["completion_id"]) == ("error", "stream_gone", ONE)
    scene.say("more")
    assert await scene.sent() == []
    # From the start, or after the piece, there is nothing to guess.
    for after, said in ((-1, "all of itmore"), (7, "more")):
        scene.outlet.resume(ONE, after)
        scene.outlet.progress(ONE, scene.spoken, flush=True)
        assert [m["content"] for m in await scene.sent()] == [said]


@pytest.mark.parametrize("full", [True, False])
async def test_thinking_goes_with_the_pieces_and_is_resumed_like_them(full: bool) -> None:
    scene = Scene(full=full)
    for index, piece in enumerate([("", "Let me"), ("", " see."), ("Forty", ""), ("-two", "")]):
        scene.spoken.add(Piece(index, *piece))
        scene.outlet.progress(ONE, scene.spoken, flush=True)
    sent = await scene.sent()
    assert [m.get("thinking") for m in sent] == ["Let me", " see.", None, None]
    assert [m["content"] for m in sent] == ["", "", "Forty", "-two"]
    scene.outlet.resume(ONE, 0)
    scene.outlet.progress(ONE, scene.spoken, flush=True)
    (rest,) = await scene.sent()
    assert (rest["thinking"], rest["content"], rest["index"]) == (" see.", "Forty-two", 3)


async def test_a_socket_that_takes_nothing_is_closed_and_holds_no_memory() -> None:
    scene = Scene(full=False)
    for _ in range(10_000):
        scene.say("x" * 1000)
    assert scene.outlet.close_code == SLOW
    assert await scene.sent() == []


async def test_what_is_on_its_way_counts_until_it_has_gone_out() -> None:
    scene = Scene(full=False)
    text = "\N{GRINNING FACE}" * 2**18
    scene.say(*[text] * 3)
    taken = await scene.outlet.take(scene.now)
    for _ in range(2):
        for each in taken:
            scene.outlet.done(each)
        scene.say(*[text] * 3)
        taken = await scene.outlet.take(scene.now)
        assert scene.outlet.close_code is None
    scene.say(*[text] * 6)
    assert scene.outlet.close_code == SLOW


async def test_who_may_no_longer_listen_gets_nothing_that_waited_and_nothing_more() -> None:
    scene = Scene(full=False)
    scene.say("a")
    scene.outlet.close(NOT_AUTHENTICATED)
    scene.say("b")
    scene.outlet.send(Pong())
    assert scene.outlet.drops
    assert await scene.sent() == []


async def test_the_first_reason_to_close_counts() -> None:
    scene = Scene(full=False)
    scene.outlet.send(Pong())
    scene.outlet.close(4404)
    scene.outlet.close(1012)
    assert (scene.outlet.close_code, await scene.sent()) == (4404, [{"type": "pong"}])


def test_text_is_read_from_events_with_their_indices() -> None:
    chunk = b'data: {"choices":[{"delta":{"content":"%s","reasoning_content":"t"}}]}\n\n'
    data = b"id: %b:3\n%bid: %b:5\n%b: ping\n" % (b"c", chunk % b"a", b"c", chunk % b"b")
    assert list(pieces(data)) == [Piece(3, "a", "t"), Piece(5, "b", "t")]


def test_events_that_come_twice_are_said_once() -> None:
    spoken = Spoken()
    for index in (0, 1, 1, 0, 2):
        spoken.add(Piece(index, str(index), ""))
    assert (spoken.text, spoken.length) == ("012", 3)
    assert [spoken.ends_of(index)[0] for index in (-1, 0, 1, 9)] == [0, 1, 2, 3]
    assert [spoken.since(length) for length in range(4)] == ["012", "12", "2", ""]
