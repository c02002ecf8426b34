"""``tickets/``: for browsers, whose sockets and event sources send no headers."""

from datetime import datetime

from services.api.deps import CallerDep, StateDep
from services.api.routes.faces import FacedRouter
from services.api.schemas.model import AnswerModel

router = FacedRouter("/tickets", errors=(401, 503))


class TicketBody(AnswerModel):
    """Goes into an address as ``?ticket=``."""

    ticket: str
    expires_at: datetime


@router.post("", status_code=201, summary="Get a one-time ticket")
async def create_ticket(state: StateDep, caller: CallerDep) -> TicketBody:
    """For one WebSocket, or one ``GET /v1/chat/completions/{id}?stream=true``, within 30 s."""
    made = await state["tickets"].issue(caller)
    return TicketBody(ticket=made.text, expires_at=made.expires_at)
