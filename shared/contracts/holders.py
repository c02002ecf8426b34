"""By what name the buckets ``limits`` and ``budgets`` know whose counts and places those are."""

import hashlib


def holder_of(user_id: str, key_id: str | None) -> str:
    """A user over all keys, or one key that has numbers of its own."""
    # Both come from outside and may hold any character; the NUL keeps them apart.
    return hashlib.sha256(f"{user_id}\0{key_id or ''}".encode()).hexdigest()
