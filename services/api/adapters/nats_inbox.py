"""One wildcard subscription for all completions of this gateway: head parsed, body left alone."""

import secrets
from typing import Final, NamedTuple

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.api.ports.broker import Alarm
from services.api.ports.mailbox import Mailbox
from shared.contracts import subjects
from shared.contracts.frames import MalformedFrame, parse_frame
from shared.contracts.ids import CompletionId
from shared.messaging.subscriptions import ProvenSubscription

log = structlog.stdlib.get_logger(__name__)

_PROBE: Final = CompletionId("probe")


class _Entry(NamedTuple):
    mailbox: Mailbox
    alarm: Alarm


class NatsInbox:
    """``Mailboxes`` over the raw client; the callback is a dictionary lookup and an append."""

    def __init__(self, client: Client, gateway_id: str | None = None) -> None:
        self.gateway_id = gateway_id or f"g{secrets.token_hex(8)}"
        self._entries: dict[str, _Entry] = {}
        self._cut = len(subjects.chunks(self.gateway_id, CompletionId("")))
        self._subscription = ProvenSubscription(
            client,
            subjects.gateway_inbox(self.gateway_id),
            self._receive,
            probe_subject=subjects.chunks(self.gateway_id, _PROBE),
        )

    def reply_subject(self, completion_id: CompletionId) -> str:
        """Where the frames of a completion are to be sent."""
        return subjects.chunks(self.gateway_id, completion_id)

    def register(self, completion_id: CompletionId, mailbox: Mailbox, alarm: Alarm) -> None:
        """Put its frames into ``mailbox``; call ``alarm`` when some may have been lost."""
        self._entries[completion_id] = _Entry(mailbox, alarm)

    def remove(self, completion_id: CompletionId, mailbox: Mailbox) -> None:
        """Drop its frames from now on."""
        entry = self._entries.get(completion_id)
        if entry is not None and entry.mailbox is mailbox:
            del self._entries[completion_id]

    async def open(self) -> None:
        """Subscribe and prove it.

        Raises:
            BrokerUnavailable: no probe came back.
        """
        await self._subscription.open()

    async def prove(self) -> None:
        """Prove it again, then let every reader look for what it missed.

        Raises:
            BrokerUnavailable: no probe came back.
        """
        await self._subscription.prove()
        for entry in list(self._entries.values()):
            entry.alarm()

    async def close(self) -> None:
        """Stop listening."""
        await self._subscription.close()

    async def _receive(self, message: Msg) -> None:
        entry = self._entries.get(message.subject[self._cut :])
        if entry is None:
            return
        try:
            entry.mailbox.put(parse_frame(message.data))
        except MalformedFrame as error:
            log.warning("frame_malformed", subject=message.subject, error=str(error))
            entry.alarm()
