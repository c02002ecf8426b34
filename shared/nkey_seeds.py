"""The seed of an identity: a secret in a file of its own, and the public key that it makes."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Final

import nkeys  # type: ignore[import-untyped]

_SEED_BYTES: Final = 32
_LONGEST: Final = 1024


class WrongSeed(ValueError):
    """A file that should hold a seed does not; its text is a sentence without the content."""


def new_seed() -> str:
    """A fresh user seed, ``SU…``."""
    raw = secrets.token_bytes(_SEED_BYTES)
    return str(nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_USER).decode())


def public_key(seed: str) -> str:
    """The user that the broker knows the seed's holder by, ``U…``."""
    return str(nkeys.from_seed(bytearray(seed.encode())).public_key.decode())


def signature(seed: str, nonce: str) -> str:
    """What proves to the broker that ``seed`` is known here."""
    signed: bytes = nkeys.from_seed(bytearray(seed.encode())).sign(nonce.encode())
    return base64.b64encode(signed).decode()


def read_seed(path: Path) -> str:
    """The user seed in ``path``.

    Raises:
        WrongSeed: there is no such file, it cannot be read, or it holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST).strip()
    except OSError as error:
        sentence = f"the key file {path} cannot be read: {error.strerror}"
        raise WrongSeed(sentence) from error
    if not _is_user_seed(content):
        sentence = f"the file {path} holds no key, or a damaged one"
        raise WrongSeed(sentence)
    return content.decode()


def _is_user_seed(content: bytes) -> bool:
    try:
        prefix, raw = nkeys.decode_seed(content)
        # The library does not look at the checksum: a letter that has changed would be another key.
        again: bytes = nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_USER)
    except (nkeys.NkeysError, ValueError, IndexError):
        return False
    return bool(prefix == nkeys.PREFIX_BYTE_USER) and again == content
