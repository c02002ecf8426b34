"""What an admitted order says to its worker and to the journal: pure."""

from datetime import timedelta
from typing import Final

from services.api.completions.orders import Order, Patience
from services.api.completions.placing import PlacedTurn
from shared.contracts import subjects
from shared.contracts.completions import RunCompletion
from shared.contracts.events import CompletionAccepted

_UNWATCHED: Final = timedelta(seconds=15)
"""Three words of a gateway that says every five seconds that it watches."""


def draft_command(
    order: Order,
    placed: PlacedTurn | None,
    reply_subject: str,
    patience: Patience,
    *,
    whole: bool,
    window: int | None = None,
) -> RunCompletion:
    """The request to a worker."""
    grace = timedelta(seconds=patience.grace if order.resumable else 0)
    return RunCompletion(
        completion_id=order.completion_id,
        reply_subject=reply_subject,
        user_id=order.user_id,
        key_id=order.caller.key_id if order.caller is not None else None,
        model=subjects.full_model_name(order.model),
        display_model=order.model,
        created_at=order.created_at,
        messages=list(order.messages),
        sampling=order.sampling,
        tools=list(order.tools),
        response_format=order.response_format,
        include_usage=order.include_usage,
        whole=whole or None,
        place=placed.place if placed is not None else None,
        generating_deadline=timedelta(seconds=patience.generating),
        droppable=order.plan.droppable if order.plan is not None else None,
        omitted=order.plan.omitted or None if order.plan is not None else None,
        window=window,
        watch_timeout=_UNWATCHED + grace,
    )


def draft_accepted(
    command: RunCompletion,
    placed: PlacedTurn | None,
    lane: str,
    patience: Patience,
    order: Order,
) -> CompletionAccepted:
    """The fact that somebody owes an end from here on."""
    return CompletionAccepted(
        completion_id=command.completion_id,
        user_id=command.user_id,
        model=command.display_model,
        accepted_at=command.created_at,
        turn=placed.turn if placed is not None else None,
        place=command.place,
        overdue_after_s=patience.waiting + patience.generating,
        reply_subject=command.reply_subject,
        lane=lane,
        include_usage=command.include_usage,
        resumable=order.resumable,
        unavailable_tools=list(order.unavailable_tools) or None,
    )
