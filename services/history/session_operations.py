"""Who answers questions about sessions."""

from collections.abc import Sequence
from typing import Any

from services.history.changing import Changing
from services.history.copying import Copying
from services.history.handlers import Operation
from services.history.health import Health
from services.history.reading import Reading
from services.history.sessions import Sessions
from services.history.tree_reading import TreeReading
from shared.contracts import session_questions as asked


def session_operations(
    sessions: Sessions,
    changing: Changing,
    copying: Copying,
    reading: Reading,
    trees: TreeReading,
    health: Health,
) -> Sequence[Operation[Any, Any]]:
    """Sessions, their messages, and how history is."""
    return (
        Operation(asked.LIST_SESSIONS, sessions.page),
        Operation(asked.CREATE_SESSION, sessions.create),
        Operation(asked.GET_SESSION, reading.detail),
        Operation(asked.UPDATE_SESSION, changing.update),
        Operation(asked.DELETE_SESSION, sessions.delete),
        Operation(asked.RESTORE_SESSION, sessions.restore),
        Operation(asked.FORK_SESSION, copying.fork),
        Operation(asked.IMPORT_SESSION, copying.import_session),
        Operation(asked.READ_TREE, trees.page),
        Operation(asked.SESSION_HEAD, reading.head),
        Operation(asked.HEALTH, health.check),
    )
