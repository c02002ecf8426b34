"""Whatever a broker loses, doubles or reorders and whoever writes: the reader's text is exact.

Or it ends with an error. Hypothesis looks for a sequence of events after which a reader has passed
on a text that is not the recorded one and calls it complete.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.fakes.lossy_stream import LossyStream, Writer, drive

MOST_ATTEMPTS = 4


class AnyInterleaving(RuleBasedStateMachine):
    """Writers, losses and a reader, in any order."""

    lossless = False
    """Whether nothing that was delivered is missing in the log, and nobody writes as a zombie."""
    kept = False
    """Whether nothing that was delivered is missing in the log."""

    @initialize()
    def begin(self) -> None:
        self.stream = LossyStream()
        self.spoken = 0

    def writing(self, who: int) -> Writer | None:
        """One of those who still write: any of them, or the newest where nobody is a zombie."""
        writers = [writer for writer in self.stream.writers if not writer.done]
        if self.lossless:
            writers = [writer for writer in writers if writer is self.stream.writers[-1]]
        return writers[who % len(writers)] if writers else None

    @rule(
        who=st.integers(0, MOST_ATTEMPTS),
        count=st.integers(1, 3),
        stores=st.booleans(),
        delivers=st.booleans(),
    )
    def somebody_says_something(self, who: int, count: int, stores: bool, delivers: bool) -> None:
        writer, broker = self.writing(who), self.stream.broker
        if writer is None:
            return
        broker.stores, broker.delivers = stores or self.kept, delivers
        writer.say([f"w{writer.attempt}.{self.spoken + offset} " for offset in range(count)])
        self.spoken += count
        broker.stores = broker.delivers = True

    @rule(who=st.integers(0, MOST_ATTEMPTS), count=st.integers(1, 3), stores=st.booleans())
    def somebody_is_heard_at_once(self, who: int, count: int, stores: bool) -> None:
        """The usual way, which chance would seldom find; without ``stores`` the log lacks it."""
        self.somebody_says_something(who, count, stores, delivers=True)
        while self.stream.broker.under_way:
            self.stream.deliver(0, keep=False)
        self.stream.read()

    @precondition(lambda self: not self.kept)
    @rule()
    def the_log_is_made_anew(self) -> None:
        self.stream.broker.log.clear()

    @precondition(lambda self: not self.kept)
    @rule(newest=st.integers(1, 5))
    def the_log_loses_its_newest_part(self, newest: int) -> None:
        del self.stream.broker.log[-newest:]

    @precondition(lambda self: self.kept)
    @rule()
    def the_reader_comes_back_with_what_it_has(self) -> None:
        """Where the log lacks what it has, an id cannot tell whose it is."""
        if not self.stream.over:
            self.stream.come_back()

    @rule(who=st.integers(0, MOST_ATTEMPTS), delivers=st.booleans())
    def somebody_sends_everything_so_far(self, who: int, delivers: bool) -> None:
        writer = self.writing(who)
        if writer is not None:
            self.stream.broker.delivers = delivers
            drive(writer.answer.resend())
            self.stream.broker.delivers = True

    @rule(who=st.integers(0, MOST_ATTEMPTS))
    def somebody_gives_a_sign_of_life(self, who: int) -> None:
        writer = self.writing(who)
        if writer is not None:
            drive(writer.answer.heartbeat())

    @precondition(lambda self: len(self.stream.writers) < MOST_ATTEMPTS)
    @rule(delivers=st.booleans())
    def another_worker_takes_over(self, delivers: bool) -> None:
        if self.stream.journal.ends:
            return
        self.stream.broker.delivers = delivers
        self.stream.take_over()
        self.stream.broker.delivers = True

    @rule(who=st.integers(0, MOST_ATTEMPTS), delivers=st.booleans())
    def somebody_ends_it(self, who: int, delivers: bool) -> None:
        writer = self.writing(who)
        if writer is not None:
            self.stream.broker.delivers = delivers
            writer.end()
            self.stream.broker.delivers = True

    @precondition(lambda self: self.stream.broker.under_way)
    @rule(position=st.integers(0, 50), keep=st.booleans())
    def a_frame_arrives(self, position: int, keep: bool) -> None:
        under_way = len(self.stream.broker.under_way)
        self.stream.deliver(position % under_way, keep=keep)

    @precondition(lambda self: self.stream.broker.under_way)
    @rule()
    def everything_arrives_in_order(self) -> None:
        while self.stream.broker.under_way:
            self.stream.deliver(0, keep=False)

    @rule()
    def the_reader_reads(self) -> None:
        self.stream.read()

    @rule()
    def the_connection_is_new(self) -> None:
        self.stream.relay.alarm()

    @rule(seconds=st.sampled_from([0.5, 1.5, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self.stream.clock.time += seconds

    def teardown(self) -> None:
        if not hasattr(self, "stream"):
            return
        if not self.stream.journal.ends:
            self.stream.writers[-1].end()
        self.stream.read_to_the_end()
        self.judge()

    def judge(self) -> None:
        stream = self.stream
        if stream.lost:
            assert not self.lossless, "nothing was lost, and yet the reader gave up"
            return
        assert stream.end is not None
        assert (
            stream.end.completion_id == stream.journal.ends[stream.end.completion_id].completion_id
        )
        assert stream.got == stream.said.text
        assert stream.openings == 1


class NothingIsLost(AnyInterleaving):
    """Frames may be late, doubled or undelivered, but all are stored, and no zombie writes."""

    lossless = kept = True


class AllIsKept(AnyInterleaving):
    """All frames are stored, zombies' too, and the reader comes and goes."""

    kept = True


@pytest.mark.parametrize("machine", [AnyInterleaving, NothingIsLost, AllIsKept])
def test_the_text_is_exact_or_the_reader_says_that_it_is_not(
    machine: type[RuleBasedStateMachine],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=300,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_log_that_was_lost_with_its_worker_makes_no_splice() -> None:
    stream = LossyStream()
    stream.writers[0].say(["one ", "two "])
    while stream.broker.under_way:
        stream.deliver(0, keep=False)
    stream.read()
    stream.broker.log.clear()

    stream.take_over()
    for word in ("EINS ", "ZWEI ", "DREI ", "VIER "):
        stream.writers[1].say([word])
    stream.writers[1].end()
    while stream.broker.under_way:
        stream.deliver(0, keep=False)
    stream.read_to_the_end()

    assert (stream.got, stream.lost) == ("one two ", True)


def test_a_log_that_has_lost_a_takeover_brings_back_no_zombies_words() -> None:
    stream = LossyStream()
    stream.take_over()
    while stream.broker.under_way:
        stream.deliver(0, keep=False)
    stream.read()
    stream.broker.log.clear()

    stream.writers[0].say(["zombie "])
    stream.relay.alarm()
    stream.read()
    stream.writers[1].say(["EINS ", "ZWEI "])
    stream.writers[1].end()
    while stream.broker.under_way:
        stream.deliver(0, keep=False)
    stream.read_to_the_end()

    assert (stream.got, stream.lost) == ("EINS ZWEI ", False)
