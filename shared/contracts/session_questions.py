"""What may be asked about sessions."""

from typing import Final

from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    ForkSession,
    GetSession,
    ListSessions,
    MessageTree,
    ReadTree,
    RestoreSession,
    SessionDetail,
    SessionHead,
    SessionHeadQuery,
    SessionPage,
    SessionReply,
    UpdateSession,
)
from shared.contracts.history_health import HealthQuery, HistoryHealth
from shared.contracts.imports import ImportSession
from shared.contracts.questions import Question

LIST_SESSIONS: Final = Question("list_sessions", ListSessions, SessionPage, patient=True)
CREATE_SESSION: Final = Question("create_session", CreateSession, SessionReply)
GET_SESSION: Final = Question("get_session", GetSession, SessionDetail, patient=True)
UPDATE_SESSION: Final = Question("update_session", UpdateSession, SessionReply)
DELETE_SESSION: Final = Question("delete_session", DeleteSession, SessionReply)
RESTORE_SESSION: Final = Question("restore_session", RestoreSession, SessionReply)
FORK_SESSION: Final = Question("fork_session", ForkSession, SessionReply, patient=True)
READ_TREE: Final = Question("read_tree", ReadTree, MessageTree, patient=True)
IMPORT_SESSION: Final = Question(
    "import_session", ImportSession, SessionReply, patient=True, bulky=True
)
SESSION_HEAD: Final = Question("session_head", SessionHeadQuery, SessionHead, patient=True)
HEALTH: Final = Question("health", HealthQuery, HistoryHealth)
