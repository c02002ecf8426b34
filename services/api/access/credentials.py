"""Where a request carries its token; what it says is checked elsewhere."""

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from services.api.access.refusals import NotAuthenticated

_SCHEMES: Final = frozenset({"bearer", "token"})
UNREADABLE: Final = ""
"""A token of no form: there was one, in a way that nobody here understands."""

Headers = Iterable[tuple[bytes, bytes]]


def header_token(headers: Headers) -> str | None:
    """The token of ``Authorization: Bearer`` or ``Token``; ``None`` without that header.

    Raises:
        NotAuthenticated: there are two: somebody on the way may have looked at the other one.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) > 1:
        raise NotAuthenticated("There must be one Authorization header.")
    if not values:
        return None
    scheme, _, token = values[0].decode("latin-1").strip().partition(" ")
    return token.strip() if scheme.lower() in _SCHEMES else UNREADABLE


def query_values(query: bytes) -> Mapping[str, str]:
    """The parameters of a query; the last of each name."""
    # More fields than any address has are refused by ``parse_qsl`` with a ValueError.
    try:
        return dict(parse_qsl(query.decode("latin-1"), max_num_fields=100))
    except ValueError:
        return {}
