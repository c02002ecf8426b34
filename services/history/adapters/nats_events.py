"""``CHAT_EVENTS`` and the dead letters through the JetStream API."""

import asyncio
from datetime import datetime
from typing import Final

from services.history.event_ports import LogState, Progress, RawEvent
from shared.contracts import streams, subjects
from shared.contracts.dead_letters import REASON, reason_line
from shared.contracts.events import CompletionCompleted
from shared.contracts.ids import CompletionId
from shared.contracts.jetstream_api import consumer_info, stream_info, stream_purge
from shared.messaging.jetstream import AlreadyPublished, JetStream

SERVICE: Final = "history"


class NatsEventLog:
    """``EventLog`` on JetStream."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def find(self, completion_id: CompletionId) -> list[RawEvent]:
        """See the port."""
        found = await asyncio.gather(
            self._jetstream.last(streams.EVENTS, subjects.accepted(completion_id)),
            self._jetstream.last(streams.EVENTS, subjects.completed(completion_id)),
        )
        return [
            RawEvent(message.subject, message.sequence, message.time, message.data)
            for message in found
            if message is not None
        ]

    async def close(self, end: CompletionCompleted) -> bool:
        """See the port."""
        try:
            await self._jetstream.publish_once(
                subjects.completed(end.completion_id), end.to_bytes()
            )
        except AlreadyPublished:
            return False
        return True

    async def state(self) -> LogState:
        """See the port."""
        info = await self._jetstream.api(stream_info(streams.EVENTS))
        state = info["state"]
        return LogState(
            first_sequence=state["first_seq"],
            last_sequence=state["last_seq"],
            size=state["bytes"],
            max_size=info["config"].get("max_bytes", -1),
        )

    async def progress(self) -> Progress:
        """See the port."""
        info = await self._jetstream.api(consumer_info(streams.EVENTS, streams.HISTORY_CONSUMER))
        return Progress(
            floor=info["ack_floor"]["stream_seq"],
            waiting=info["num_pending"],
            in_hand=info["num_ack_pending"],
        )

    async def first_since(self, time: datetime) -> int | None:
        """See the port."""
        message = await self._jetstream.since(streams.EVENTS, time)
        return message.sequence if message is not None else None

    async def erase(self, subject: str) -> None:
        """See the port."""
        await self._jetstream.api(stream_purge(streams.EVENTS), {"filter": subject})

    async def purge(self, below: int) -> None:
        """See the port."""
        await self._jetstream.api(stream_purge(streams.EVENTS), {"seq": below})


class NatsDeadLetters:
    """``DeadLetters`` on JetStream: the original bytes, what and why in headers."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def bury(self, event: RawEvent, reason: str) -> None:
        """See the port."""
        headers = {
            REASON: reason_line(reason),
            "Stream-Sequence": str(event.sequence),
            "Subject": event.subject,
            # A second burial soon after is the same one.
            "Nats-Msg-Id": f"{SERVICE}.{event.sequence}.{event.time.isoformat()}",
        }
        await self._jetstream.publish(subjects.dead_letters(SERVICE), event.data, headers=headers)
