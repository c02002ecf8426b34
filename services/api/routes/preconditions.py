"""Optimistic locks over HTTP: a version in the body, or in ``If-Match``."""

import re
from typing import Final

from fastapi import Request

from shared.errors import InvalidRequest, VersionConflict

_TAG: Final = re.compile(r'(?:W/)?"([0-9]{1,15})"')


def etag(version: int) -> str:
    """The tag of a version."""
    return f'"{version}"'


def wanted_version(request: Request, in_body: int | None) -> int | None:
    """The version that must still hold; ``None`` for any.

    Raises:
        InvalidRequest: header and body want different ones.
        VersionConflict: the header names none that there ever was.
    """
    header = request.headers.get("if-match", "").strip()
    if header in {"", "*"}:
        return in_body
    match = _TAG.fullmatch(header)
    if match is None:
        # Some other server's tag, or a list: it cannot be the one of this resource.
        raise VersionConflict("If-Match names no version of this resource.", param="If-Match")
    if in_body is not None and in_body != int(match[1]):
        raise InvalidRequest(
            "The field version and If-Match name different versions.", param="version"
        )
    return int(match[1])
