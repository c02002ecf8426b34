"""Who answers questions about API keys."""

from collections.abc import Sequence
from typing import Any

from services.history.acts import key_created, key_revoked
from services.history.api_keys import ApiKeys
from services.history.handlers import Operation
from shared.contracts import api_keys as asked


def key_operations(keys: ApiKeys) -> Sequence[Operation[Any, Any]]:
    """All of ``shared.contracts.api_keys``."""
    return (
        Operation(asked.CREATE_KEY, keys.create, act=key_created),
        Operation(asked.LIST_KEYS, keys.page),
        Operation(asked.REVOKE_KEY, keys.revoke, act=key_revoked),
    )
