"""The header that names a file for who saves it. Pure."""

import re
import unicodedata
from typing import Final
from urllib.parse import quote

_LONGEST: Final = 80
_LONGEST_PLAIN: Final = 60
_UNKNOWN: Final = "session"
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9]+")
_SPACE: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_NO_NAME: Final = re.compile(r'[<>:"/\\|?*]+')
"""What some file system takes for a path, a device or a pattern."""
_WRITTEN_AS_IS: Final = "!#$&+.^_`|~-"
"""RFC 5987's attr-char, besides letters and digits."""


def attachment(title: str, ending: str) -> str:
    """``Content-Disposition`` with the title in any script, and without for who reads only that."""
    name, plain = f"{_name(title)}.{ending}", f"{_plain(title)}.{ending}"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, _WRITTEN_AS_IS)}"


def _name(title: str) -> str:
    spaced = _SPACE.sub(" ", unicodedata.normalize("NFC", title))
    # Unseen characters turn the direction of writing, and a name into another one.
    seen = "".join(it for it in spaced if unicodedata.category(it) != "Cf")
    # A dot in front hides a file, and Windows drops dots and spaces at the end.
    return _NO_NAME.sub("-", seen).strip(" .-")[:_LONGEST].rstrip(" .-") or _UNKNOWN


def _plain(title: str) -> str:
    letters = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return _NOT_PLAIN.sub("-", letters).strip("-")[:_LONGEST_PLAIN].rstrip("-") or _UNKNOWN
