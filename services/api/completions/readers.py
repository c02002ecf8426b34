"""Who reads the frames of a completion that was asked for here."""

from services.api.completions.orders import Patience
from services.api.completions.running import Desk
from services.api.ports.broker import FrameLog
from services.api.ports.mailbox import Mailbox
from services.api.streams.delivery import Delivery
from services.api.streams.relay import Relay
from services.api.streams.steps import Reader
from services.api.streams.whole import WholeAnswer
from shared.contracts.ids import CompletionId


def reader_of(
    completion_id: CompletionId,
    mailbox: Mailbox,
    delivery: Delivery | None,
    desk: Desk,
    frames: FrameLog,
    patience: Patience,
) -> Reader:
    """Of a whole answer, or of a stream that is relayed as ``delivery`` has it."""
    if delivery is None:
        return WholeAnswer(
            completion_id,
            mailbox,
            journal=desk.journal,
            clock=desk.clock,
            silence=patience.silence,
        )
    return Relay(
        completion_id,
        mailbox,
        delivery,
        frames=frames,
        journal=desk.journal,
        clock=desk.clock,
        resend=desk.resending.of(completion_id),
        silence=patience.silence,
        batch=patience.mailbox_bytes,
    )
