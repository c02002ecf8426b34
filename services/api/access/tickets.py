"""Tickets for browsers' sockets and event sources: 30 seconds, once.

What stands in an address stands in logs and histories; a ticket is worth nothing there.
"""

import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from services.api.access.caller import Allowance, Caller
from services.api.access.refusals import NotAuthenticated
from services.api.ports.broker import Clock
from services.api.ports.tickets import TicketEntry, Tickets
from shared.contracts.api_keys import digest_of

LIFETIME: Final = timedelta(seconds=30)
_FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Ticket(NamedTuple):
    """What its caller gets."""

    text: str
    expires_at: datetime


class TicketOffice:
    """Makes tickets, and takes them back."""

    def __init__(self, tickets: Tickets, clock: Clock, *, lives: Callable[[str], bool]) -> None:
        """Open it.

        Args:
            tickets: Where they are kept.
            clock: For their end.
            lives: Whether the key that a ticket was made with still lets somebody in.
        """
        self._tickets = tickets
        self._clock = clock
        self._lives = lives

    async def issue(self, caller: Caller) -> Ticket:
        """A ticket for this caller.

        Raises:
            BrokerUnavailable: no answer.
        """
        text = secrets.token_urlsafe(32)
        until = self._clock.now() + LIFETIME
        entry = TicketEntry(
            user_id=caller.user_id,
            roles=sorted(caller.roles),
            key_id=caller.key_id,
            models=list(caller.models),
            requests_per_minute=caller.allowance.requests_per_minute,
            concurrent=caller.allowance.concurrent,
            tokens_per_month=caller.allowance.tokens_per_month,
            money_per_month=caller.allowance.money_per_month,
            expires_at=caller.expires_at,
            valid_until=until,
        )
        await self._tickets.put(digest_of(text), entry, LIFETIME.total_seconds())
        return Ticket(text, until)

    async def redeem(self, text: str) -> Caller:
        """Whose it is; it is worth nothing afterwards.

        Raises:
            NotAuthenticated: nobody's, used, too old, or made with a key that was revoked since.
            BrokerUnavailable: no answer.
        """
        # What cannot be one is not looked for: strangers may send any number.
        entry = await self._tickets.take(digest_of(text)) if _FORM.fullmatch(text) else None
        now = self._clock.now()
        if (
            entry is None
            or entry.valid_until <= now
            or (entry.expires_at is not None and entry.expires_at <= now)
            or (entry.key_id is not None and not self._lives(entry.key_id))
        ):
            raise NotAuthenticated("This ticket is not valid: each may be used once, within 30 s.")
        return Caller(
            entry.user_id,
            roles=frozenset(entry.roles),
            key_id=entry.key_id,
            models=tuple(entry.models),
            allowance=Allowance(
                entry.requests_per_minute,
                entry.concurrent,
                entry.tokens_per_month,
                entry.money_per_month,
            ),
            expires_at=entry.expires_at,
        )
