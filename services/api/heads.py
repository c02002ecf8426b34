"""Heads of requests that are refused before any route: pure.

What two readers may understand differently (a proxy in front of the gateway, and the gateway)
is how requests are smuggled past one of them, so whatever is doubtful is refused.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

_SLASHES: Final = re.compile(rb"%2f", re.IGNORECASE)
_NAMING_MODELS: Final = re.compile(
    rb"/v1/models/(?!%2f)(?!.*%2f/?$)"
    rb"|/(api/chat|ai-chat/api)/models/(?!%2f).*(?<!%2f)/settings/?$",
    re.IGNORECASE,
)
"""Their names may have slashes in them, which clients escape: ``hf.co%2Fsomebody%2Fmodel``."""

Header = tuple[bytes, bytes]


class HeadLimits(NamedTuple):
    """Most of each."""

    size: int = 64 * 1024
    headers: int = 100
    url: int = 8 * 1024


class Head(NamedTuple):
    """As it was sent; names of headers in lower case."""

    url: bytes
    version: str
    headers: Sequence[Header]
    upgrades: bool
    """Whether it opens a WebSocket."""


class HeadRefusal(NamedTuple):
    """What is answered instead."""

    status: HTTPStatus
    message: str


def refusal_of(head: Head, limits: HeadLimits) -> HeadRefusal | None:
    """Why the request is not answered, if it is not."""
    return _too_much(head, limits) or _ambiguous(head)


def too_large(limits: HeadLimits) -> HeadRefusal:
    """The refusal of a head that takes too many bytes."""
    message = f"The headers take more than {limits.size} bytes."
    return HeadRefusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)


def _too_much(head: Head, limits: HeadLimits) -> HeadRefusal | None:
    if len(head.url) > limits.url:
        message = f"The address takes more than {limits.url} bytes."
        return HeadRefusal(HTTPStatus.REQUEST_URI_TOO_LONG, message)
    if len(head.headers) > limits.headers:
        message = f"There are more than {limits.headers} headers."
        return HeadRefusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message)
    # Colon, space and the end of the line.
    if sum(len(name) + len(value) + 4 for name, value in head.headers) > limits.size:
        return too_large(limits)
    return None


def _ambiguous(head: Head) -> HeadRefusal | None:
    if head.version not in {"1.0", "1.1"}:
        message = "This gateway speaks HTTP/1.1 and HTTP/1.0."
        return HeadRefusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, message)
    if not head.url.startswith(b"/") or b"#" in head.url:
        # An address with a host in it says another one than ``Host`` may, which is checked.
        return _bad("The address of a request is a path that begins with a slash.")
    path = head.url.partition(b"?")[0]
    if _SLASHES.search(path) and not _NAMING_MODELS.match(path):
        # To routes it is a slash like any other, to a proxy that knows some addresses it is none.
        return _bad("An escaped slash is understood only inside the name of a model.")
    encodings = [value for name, value in head.headers if name == b"transfer-encoding"]
    sized = any(name == b"content-length" and value != b"0" for name, value in head.headers)
    if head.upgrades and (encodings or sized):
        return _bad("A request for a WebSocket has no body.")
    if encodings and head.version == "1.0":
        return _bad("HTTP/1.0 knows no Transfer-Encoding.")
    if encodings and [value.strip().lower() for value in encodings] != [b"chunked"]:
        return _bad("The only Transfer-Encoding that is understood is chunked.")
    return None


def _bad(message: str) -> HeadRefusal:
    return HeadRefusal(HTTPStatus.BAD_REQUEST, message)
