"""One open socket: a task that reads, a task that writes, and what both may cost."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from services.api.auditing import tell_of_closing, tell_of_refusal
from services.api.completions.draining import Drain
from services.api.completions.scope_keys import TOLD
from services.api.parsing import parse_body
from services.api.schemas.sockets import ClientMessage, Ping, Pong
from services.api.sockets.gate import SocketTiming
from services.api.sockets.outlet import BROKEN, IDLE, REASONS, RESTART, SLOW, TOO_MANY, Outlet
from services.api.sockets.turn import refusal
from shared.contracts.ids import SessionId
from shared.errors import ChatError, InvalidRequest, RateLimited

log = structlog.stdlib.get_logger(__name__)

_A_SECOND: Final = 20
_BURST: Final = 60
"""Messages: more than people type and clients ping, less than what hurts others."""
_LOOK: Final = 3600.0
_CLOSING: Final = 2.0

Handler = Callable[[bytes], None]
MANY_SOCKETS: Final = RateLimited("You have as many sockets open as you may: close one.")


class SocketConnection:
    """Serves a socket until either side closes it."""

    def __init__(
        self,
        websocket: WebSocket,
        outlet: Outlet,
        *,
        handlers: Mapping[str, Handler],
        timing: SocketTiming,
        drain: Drain,
        count: Callable[[], None],
    ) -> None:
        """Describe it; ``ping`` is answered by itself.

        Args:
            websocket: Accepted.
            outlet: What is sent to it.
            handlers: By type of message; they return at once, and raise a ``ChatError`` to refuse.
            timing: Its patience.
            count: Called for each message; raises a ``ChatError`` where there are too many.
            drain: Tells that this process is stopping: the client goes on at another one.
        """
        self._websocket = websocket
        self._outlet = outlet
        self._handlers = {**handlers, "ping": self._ping}
        self._timing = timing
        self._drain = drain
        self._count = count
        self._allowance, self._counted_at = float(_BURST), time.monotonic()

    async def serve(self) -> None:
        """Read and write until it is closed."""

        def wake() -> None:
            if self._drain.begun:
                self._outlet.close(RESTART)

        self._drain.enter(wake)
        wake()
        reading = asyncio.create_task(self._read(), name="socket-reads")
        writing = asyncio.create_task(self._write(), name="socket-writes")
        closing = asyncio.create_task(self._outlet.closing.wait(), name="socket-closes")
        tasks = (reading, writing, closing)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done() and not self._gone:
                # It has said why: let that go out.
                await asyncio.wait({writing}, timeout=_CLOSING)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            self._drain.leave(wake)
            await close(self._websocket, self._code(ends))

    def _code(self, ends: Sequence[object]) -> int:
        broken = [end for end in ends if isinstance(end, Exception)]
        for error in broken:
            log.error("socket_broken", socket=self._outlet.name, exc_info=error)
        return self._outlet.close_code or (BROKEN if broken else 1000)

    @property
    def _gone(self) -> bool:
        return self._websocket.client_state is WebSocketState.DISCONNECTED

    async def _read(self) -> None:
        while self._outlet.close_code is None:
            try:
                async with asyncio.timeout(self._timing.idle):
                    message = await self._websocket.receive()
            except TimeoutError:
                self._outlet.close(IDLE)
                return
            if message["type"] == "websocket.disconnect" or self._outlet.closing.is_set():
                return
            if not self._allowed():
                tell_of_closing(self._websocket.scope, "too_many_messages")
                self._outlet.close(TOO_MANY)
                return
            try:
                self._take(message)
            except ChatError as error:
                log.info("socket_message_failed", code=error.code, socket=self._outlet.name)
                self._outlet.refuse(error)

    def _take(self, message: Mapping[str, Any]) -> None:
        self._count()
        text = message.get("text")
        if text is None:
            raise InvalidRequest("Messages are JSON text.")
        data = text.encode("utf-8", "surrogatepass")
        kind = parse_body(data, ClientMessage, "message").type
        handler = self._handlers.get(kind)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            message_text = f"There is no such type of message; there are {known}."
            raise InvalidRequest(message_text, param="type")
        handler(data)

    def _ping(self, data: bytes) -> None:
        parse_body(data, Ping)
        self._outlet.send(Pong())

    def _allowed(self) -> bool:
        now = time.monotonic()
        earned = (now - self._counted_at) * _A_SECOND
        self._allowance, self._counted_at = min(self._allowance + earned, _BURST), now
        self._allowance -= 1
        return self._allowance >= 0

    async def _write(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            texts = await self._outlet.take(clock() + _LOOK)
            try:
                for text in texts:
                    if self._outlet.drops:
                        break
                    async with asyncio.timeout(self._timing.send):
                        await self._websocket.send_text(text)
                    self._outlet.done(text)
            except TimeoutError:
                self._outlet.close(SLOW)
                return
            except (WebSocketDisconnect, RuntimeError, OSError):
                return
            if self._outlet.drops or (self._outlet.closing.is_set() and not texts):
                return


async def refuse(
    websocket: WebSocket, error: ChatError, code: int, session_id: SessionId | None = None
) -> None:
    """Say why, and close it; a client that is gone or takes nothing is not waited for."""
    tell_of_refusal(websocket.scope, error)
    if TOLD not in websocket.scope:
        note_refusal(code, error.code, session_id)
    await _say_and_close(websocket, error, code)


async def turn_away(websocket: WebSocket, code: int, reason: str, error: ChatError) -> None:
    """As ``refuse``, where the audit is told otherwise or not at all; ``reason`` is logged."""
    note_refusal(code, reason)
    await _say_and_close(websocket, error, code)


async def _say_and_close(websocket: WebSocket, error: ChatError, code: int) -> None:
    try:
        async with asyncio.timeout(_CLOSING):
            await websocket.send_text(refusal(error).model_dump_json())
    except (TimeoutError, RuntimeError, OSError, WebSocketDisconnect):
        log.debug("socket_gone", code=code)
    await close(websocket, code)


def note_refusal(code: int | None, reason: str, session_id: SessionId | None = None) -> None:
    """One line for each socket that is not served, as for each that is."""
    about = {"session_id": session_id} if session_id is not None else {}
    log.info("socket_refused", code=reason, closed=code, **about)


async def close(websocket: WebSocket, code: int) -> None:
    """Close it, if it is not closed; a client that takes nothing is not waited for."""
    if websocket.application_state is WebSocketState.DISCONNECTED:
        return
    try:
        async with asyncio.timeout(_CLOSING):
            await websocket.close(code, REASONS.get(code))
    except (TimeoutError, RuntimeError, OSError, WebSocketDisconnect):
        log.debug("socket_not_closed", code=code)
