"""What every answer tells browsers: pure ASGI, it touches the first message and nothing else."""

from collections.abc import Iterable, Iterator
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

_API_POLICY: Final = b"default-src 'none'; frame-ancestors 'none'"
_PAGE_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    b"font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of pages that this gateway serves: everything of theirs comes from here, no script is inline."""
_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start"})
"""The second: of a handshake that is refused by a route, or in front of them."""
_ALWAYS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
REFUSAL: Final[tuple[Header, ...]] = (
    *_ALWAYS,
    (b"content-security-policy", _API_POLICY),
    (b"cache-control", b"no-store"),
)
"""For answers that never come as far as this."""


class SecurityHeaders:
    """Adds what an answer does not say by itself.

    Nothing is kept by browsers or proxies unless its route says so: most answers hold what people
    have written, and the rest is small.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_first(message: Message) -> None:
            if message["type"] in _STARTS:
                headers = list(message.get("headers", ()))
                message["headers"] = [*headers, *_missing(headers)]
            await send(message)

        await self._app(scope, receive, send_first)


def _missing(headers: Iterable[Header]) -> Iterator[Header]:
    said = {name.lower(): value for name, value in headers}
    is_page = said.get(b"content-type", b"").lower().startswith(b"text/html")
    policy = (b"content-security-policy", _PAGE_POLICY if is_page else _API_POLICY)
    cache = (b"cache-control", b"no-store")
    return (header for header in (*_ALWAYS, policy, cache) if header[0] not in said)
