"""What may be asked about sessions."""

from typing import Final

from shared.contracts.history import (
    CreateSession,
    DeleteSession,
    GetSession,
    HealthQuery,
    HistoryHealth,
    ListSessions,
    SessionDetail,
    SessionHead,
    SessionHeadQuery,
    SessionPage,
    SessionReply,
    UpdateSession,
)
from shared.contracts.questions import Question

LIST_SESSIONS: Final = Question("list_sessions", ListSessions, SessionPage, patient=True)
CREATE_SESSION: Final = Question("create_session", CreateSession, SessionReply)
GET_SESSION: Final = Question("get_session", GetSession, SessionDetail, patient=True)
UPDATE_SESSION: Final = Question("update_session", UpdateSession, SessionReply)
DELETE_SESSION: Final = Question("delete_session", DeleteSession, SessionReply)
SESSION_HEAD: Final = Question("session_head", SessionHeadQuery, SessionHead, patient=True)
HEALTH: Final = Question("health", HealthQuery, HistoryHealth)
