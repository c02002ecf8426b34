"""WebSocket handshakes that never come as far as a route, refused like everything else."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

import orjson
import structlog
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Response
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from services.api.completions.failures import error_body, internal_error_body
from services.api.security_headers import REFUSAL

log = structlog.stdlib.get_logger(__name__)

_SENTENCES: Final = {
    HTTPStatus.BAD_REQUEST: "This is not a valid handshake of a WebSocket.",
    HTTPStatus.FORBIDDEN: "This socket may not be opened.",
    HTTPStatus.METHOD_NOT_ALLOWED: "A WebSocket is opened with GET.",
    HTTPStatus.UPGRADE_REQUIRED: "This handshake asks for another protocol than WebSocket.",
}
"""Not websockets' own words: they repeat what was sent."""


class _Handshake(ServerProtocol):
    """websockets' protocol, refusing in our words."""

    def reject(self, status: StatusLike, text: str) -> Response:
        """Instead of plain text, the one error body and what every answer tells browsers."""
        response = super().reject(status, text)
        known = HTTPStatus(status)
        body = internal_error_body()
        if known < HTTPStatus.INTERNAL_SERVER_ERROR:
            message = _SENTENCES.get(known, _SENTENCES[HTTPStatus.BAD_REQUEST])
            code = known.phrase.lower().replace(" ", "_")
            body = error_body(message, "invalid_request_error", None, code)
        response.body = orjson.dumps(body)
        for name in ("Content-Length", "Content-Type"):
            del response.headers[name]
        response.headers["Content-Length"] = str(len(response.body))
        response.headers["Content-Type"] = "application/json"
        for header, value in REFUSAL:
            response.headers[header.decode()] = value.decode()
        log.info("http_refused", status=known.value)
        return response


class GatewaySocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol over ``_Handshake``."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        made = self.conn
        self.conn = _Handshake(
            extensions=made.available_extensions,
            max_size=config.ws_max_size,
            logger=made.logger,
        )
