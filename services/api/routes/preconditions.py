"""Optimistic locks over HTTP: a version in the body, or in ``If-Match``."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from fastapi import Request

from services.api.deps import if_match
from shared.contracts.history import Session, StoredMessage
from shared.errors import InvalidRequest, VersionConflict

_TAG: Final = re.compile(r'(?:W/)?"([0-9]{1,15})(?:-[0-9a-f]{1,32})?"')
_DIGEST: Final = 8


def etag(version: int) -> str:
    """The tag of what is counted in its version wholly."""
    return f'"{version}"'


def etag_of_all(session: Session, messages: Sequence[StoredMessage]) -> str:
    """The tag of a session with its messages, which no version counts: another one after a turn.

    ``If-Match`` takes it for the version that stands in it: turns are no changes that another one
    could undo, so a weak tag is compared there on purpose.
    """
    digest = blake2b(session.to_bytes(), digest_size=_DIGEST)
    for message in messages:
        # A message that is stored stays as it is, but for those beside it.
        digest.update("|".join([message.id, *(message.sibling_ids or ())]).encode() + b"\n")
    return f'W/"{session.version}-{digest.hexdigest()}"'


def wanted_version(request: Request, in_body: int | None) -> int | None:
    """The version that must still hold; ``None`` for any.

    Raises:
        InvalidRequest: header and body want different ones.
        VersionConflict: the header names none that there ever was.
    """
    header = if_match(request)
    if header is None:
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
