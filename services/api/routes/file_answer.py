"""A file as an answer: piece by piece, and not for longer than a client may take."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import structlog
from fastapi import Response
from starlette.types import Receive, Scope, Send

from services.api.routes.slow_client import ClientTooSlow, patient
from services.api.sessions.exporting import File
from services.api.sessions.file_budget import Share

log = structlog.stdlib.get_logger(__name__)


class SendingTime(NamedTuple):
    """How long a client may take, in seconds."""

    silence: float
    """Without a byte taken."""
    deadline: float
    """For a file of up to ``size`` bytes; for a larger one as much more as it is larger."""
    size: int


class FileAnswer(Response):
    """What the client has taken is no longer held."""

    def __init__(
        self, file: File, share: Share, time: SendingTime, headers: Mapping[str, str], kind: str
    ) -> None:
        """Describe it.

        Args:
            file: Its blocks are taken out as they are sent.
            share: What is held of it.
            time: How long the client may take.
            headers: Beside its length and its kind.
            kind: Its media type.
        """
        sized = {**headers, "Content-Length": str(file.size)}
        super().__init__(None, headers=sized, media_type=f"{kind}; charset=utf-8")
        self._file = file
        self._share = share
        self._time = time

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it; who is too slow gets half a file and a closed connection, which says so."""
        factor = max(1.0, self._file.size / self._time.size)
        try:
            async with (
                asyncio.timeout(self._time.deadline * factor),
                patient(send, self._time.silence) as patient_send,
            ):
                await self._send(patient_send)
        except (ClientTooSlow, TimeoutError):
            log.info("client_too_slow", during="file")

    async def _send(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        blocks, left = self._file.blocks[::-1], self._file.size
        self._file.blocks.clear()
        while blocks:
            block = blocks.pop()
            message = {"type": "http.response.body", "body": block, "more_body": bool(blocks)}
            await send(message)
            left -= len(block)
            self._share.hold(left)
