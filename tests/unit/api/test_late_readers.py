"""Who comes when an answer is about to end gets each word once, wherever it comes from."""

import pytest

from services.api.ports.mailbox import Mailbox
from services.api.streams.delivery import Delivery
from services.api.streams.relay import Relay
from services.api.streams.steps import Missing
from shared.contracts.chat import CompletionStatus
from shared.contracts.ends import end_frame
from shared.contracts.events import CompletionCompleted
from shared.contracts.frames import Frame, FrameKind
from shared.contracts.ids import CompletionId, UserId
from tests.fakes.api.history import NOON
from tests.fakes.api.ports import FakeFrameLog, FakeJournal, SetClock

ID = CompletionId("chatcmpl-" + "0" * 32)
END = CompletionCompleted(
    completion_id=ID,
    user_id=UserId("local"),
    model="demo",
    status=CompletionStatus.COMPLETED,
    created_at=NOON,
    completed_at=NOON,
    text="ab",
    events=2,
)
FRAMES = [
    Frame(FrameKind.TOKENS, 1, 0, 1, 1, 1, 0, b"a"),
    Frame(FrameKind.TOKENS, 1, 1, 1, 2, 2, 0, b"b"),
    end_frame(END),
]


def encode(missing: Missing) -> bytes:
    return missing.text.encode()


@pytest.mark.parametrize("heard", range(4))
@pytest.mark.parametrize("logged", range(4))
@pytest.mark.parametrize("recorded", [True, False])
async def test_log_mailbox_and_journal_overlap_in_any_way(
    heard: int, logged: int, recorded: bool
) -> None:
    clock, log, journal = SetClock(), FakeFrameLog(), FakeJournal()
    mailbox = Mailbox(2**20, clock=clock.monotonic)
    relay = Relay(
        ID,
        mailbox,
        Delivery(encode, None),
        frames=log,
        journal=journal,
        clock=clock,
        resend=lambda _after: None,
        silence=6,
        batch=2**20,
        late=True,
    )
    # The newest ones came after the subscription; the log may be a moment behind.
    for frame in FRAMES[3 - heard :]:
        mailbox.put(frame)
    log.frames.extend(FRAMES[:logged])
    if recorded:
        journal.ends[ID] = END
    got, ended = b"", False
    for _ in range(5):
        data, end = await relay.step()
        got += data
        if end is not None:
            ended = True
            break
        log.frames[:] = FRAMES
        journal.ends[ID] = END
        clock.time += 7
    assert ended
    assert got == b"ab"
