"""Entity tags: the version of what is read, and the one that a change is meant for."""

import re
from typing import Final

from fastapi import Request, Response

from shared.errors import InvalidRequest, VersionConflict

# Proxies that compress make a tag weak on its way to the client.
_TAG: Final = re.compile(r'(?:W/)?"([1-9]\d{0,17})"')


def tag(response: Response, version: int) -> None:
    """Let the answer name its version."""
    response.headers["ETag"] = f'"{version}"'


def wanted_version(request: Request, in_body: int | None) -> int | None:
    """The version that a change is meant for, by ``If-Match`` or the body; ``None``: any.

    Raises:
        InvalidRequest: ``If-Match`` names several.
        VersionConflict: it names none that could ever be, or another one than the body.
    """
    header = request.headers.get("if-match", "*").strip()
    if header == "*":
        return in_body
    if "," in header:
        raise InvalidRequest("If-Match takes one entity tag here.", param="If-Match")
    match = _TAG.fullmatch(header)
    if match is None or in_body not in (None, int(match[1])):
        raise VersionConflict("This is not the version that is stored.", param="version")
    return int(match[1])
