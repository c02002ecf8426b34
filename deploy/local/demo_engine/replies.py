"""How an answer goes out: line by line, or whole at the end."""

from typing import Any, Protocol

import orjson

from deploy.local.demo_engine.answer import Piece
from deploy.local.demo_engine.http_server import NDJSON, Exchange
from deploy.local.demo_engine.timestamps import now_rfc3339


class Reply(Protocol):
    """Takes an answer's pieces, then its end."""

    async def piece(self, piece: Piece) -> None:
        """Take the next piece."""

    async def half(self, piece: Piece) -> None:
        """Send the first half of the line that ``piece`` would be, where there are lines."""

    async def done(self, ending: dict[str, Any]) -> None:
        """Take what is to be said at the end of the answer."""

    async def error(self, text: str) -> None:
        """Take an error instead of the end."""

    def finish(self) -> None:
        """End the reply, whether or not it had an end or an error."""


class StreamedReply:
    """One line of JSON for each piece; the head goes out with the first, as Ollama's does."""

    def __init__(self, exchange: Exchange, model: str) -> None:
        self._exchange = exchange
        self._model = model

    async def piece(self, piece: Piece) -> None:
        """Send a line."""
        await self._send(self._line(piece))

    async def half(self, piece: Piece) -> None:
        """Send the first half of a line."""
        line = self._line(piece)
        await self._send(line[: len(line) // 2])

    async def done(self, ending: dict[str, Any]) -> None:
        """Send the last line."""
        message = {"role": "assistant", "content": ""}
        await self._send(_line(self._model, message, done=True) | ending)

    async def error(self, text: str) -> None:
        """Send a line that holds an error."""
        await self._send({"error": text})

    def finish(self) -> None:
        """Send the end mark of the reply."""
        self._begin()
        self._exchange.finish()

    def _line(self, piece: Piece) -> bytes:
        return orjson.dumps(_line(self._model, _message(piece), done=False)) + b"\n"

    async def _send(self, line: dict[str, Any] | bytes) -> None:
        self._begin()
        data = line if isinstance(line, bytes) else orjson.dumps(line) + b"\n"
        await self._exchange.send(data)

    def _begin(self) -> None:
        if not self._exchange.begun:
            self._exchange.begin(NDJSON)


class WholeReply:
    """Collects the answer and sends one object at its end."""

    def __init__(self, exchange: Exchange, model: str) -> None:
        self._exchange = exchange
        self._model = model
        self._pieces: list[Piece] = []

    async def piece(self, piece: Piece) -> None:
        """Keep the piece."""
        self._pieces.append(piece)

    async def half(self, piece: Piece) -> None:
        """Nothing: there are no lines."""

    async def done(self, ending: dict[str, Any]) -> None:
        """Send everything."""
        message: dict[str, Any] = {"role": "assistant", "content": self._text("content")}
        if thinking := self._text("thinking"):
            message["thinking"] = thinking
        calls = [piece.call.on_the_wire() for piece in self._pieces if piece.call]
        if calls:
            message["tool_calls"] = calls
        self._exchange.reply_json(_line(self._model, message, done=True) | ending)

    async def error(self, text: str) -> None:
        """Nothing was sent yet, so the error has a status of its own."""
        self._exchange.reply_json({"error": text}, 500)

    def finish(self) -> None:
        """Without an object there is nothing to end cleanly."""
        if not self._exchange.finished:
            self._exchange.cut()

    def _text(self, kind: str) -> str:
        return "".join(piece.text for piece in self._pieces if piece.kind == kind)


def _line(model: str, message: dict[str, Any], *, done: bool) -> dict[str, Any]:
    return {"model": model, "created_at": now_rfc3339(), "message": message, "done": done}


def _message(piece: Piece) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    if piece.call is not None:
        message["tool_calls"] = [piece.call.on_the_wire()]
    else:
        message[piece.kind] = piece.text
    return message
