"""The connection to MongoDB: how it is opened, what its errors mean, which indexes it needs."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import structlog
from bson.errors import InvalidDocument
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError

from services.history.ports import RefusedByStore, TooLargeForStore
from services.history.records import Record
from shared.errors import HistoryUnavailable

log = structlog.stdlib.get_logger(__name__)

Document = dict[str, Any]
MongoClient = AsyncIOMotorClient
Database = AsyncIOMotorDatabase

SESSIONS: Final = "sessions"
MESSAGES: Final = "messages"
USAGE: Final = "usage"
COMPLETIONS: Final = "completions"
TERMS: Final = "search_terms"
PRESETS: Final = "presets"
MODEL_SETTINGS: Final = "model_settings"
PREFERENCES: Final = "preferences"
API_KEYS: Final = "api_keys"
PURGES: Final = "purges"

# Codes that speak of the document, not of the server's state: BadValue, FailedToParse,
# TypeMismatch, DollarPrefixedFieldName; and BSONObjectTooLarge with its kin.
_CONTENT_CODES: Final = frozenset({2, 9, 14, 52})
_SIZE_CODES: Final = frozenset({10334, 17419, 17420})

_INDEXES: Final[Mapping[str, tuple[tuple[tuple[str, int], ...], ...]]] = {
    SESSIONS: (
        # A user's list. The embedded server uses only the first, MongoDB the second.
        (("user_id", 1),),
        (("user_id", 1), ("recency", -1)),
        # Retention: what was deleted long ago.
        (("deleted_at", 1),),
        # And copies that were never finished, and what a purge left half removed.
        (("forming", 1),),
        (("purging", 1),),
    ),
    MESSAGES: (
        # All messages of one session: purging it, and placing those of an older version.
        (("session_id", 1),),
        # A session's messages by depth, and by turn: see ``mongo_messages``.
        (("place", 1),),
        (("order", 1),),
    ),
    USAGE: (
        # A user's usage, and of one day.
        (("user_id", 1),),
        (("user_id", 1), ("day", 1)),
    ),
    TERMS: (
        # The sessions of a user with a word; and all words of a session, to purge them.
        (("k", 1),),
        (("session_id", 1),),
    ),
    COMPLETIONS: (
        # The sweeper: what is open.
        (("state", 1),),
        # Retention: what ended long ago.
        (("ended_at", 1),),
        # A purge of their user.
        (("user_id", 1),),
    ),
    PRESETS: (
        # The two halves of a list: a user's own, and those of all. As for sessions, the embedded
        # server uses only the first of each pair.
        (("user_id", 1),),
        (("user_id", 1), ("order", 1)),
        (("public", 1),),
        (("public", 1), ("order", 1)),
    ),
    # The keys of one user; all of them go by their ids.
    API_KEYS: ((("user_id", 1),),),
}


def open_client(url: str) -> MongoClient:
    """A client that says within about 2 s that the database is away; it connects when first used.

    A server that hangs is noticed after 10 s; who asks sets a shorter deadline. Writes are
    acknowledged by a majority and its journal.
    """
    return AsyncIOMotorClient(
        url,
        appname="parley-history",
        serverSelectionTimeoutMS=2000,
        connectTimeoutMS=2000,
        socketTimeoutMS=10_000,
        w="majority",
        journal=True,
    )


@contextmanager
def border() -> Generator[None]:
    """Turn the driver's errors into ours.

    Raises:
        RefusedByStore: the document is at fault; ``TooLargeForStore`` where it is its size.
        HistoryUnavailable: anything else: absence, time-outs, a full disk, missing rights.
    """
    try:
        yield
    except DocumentTooLarge as error:
        raise TooLargeForStore(type(error).__name__) from error
    except (InvalidDocument, OverflowError) as error:
        raise RefusedByStore(type(error).__name__) from error
    except OperationFailure as error:
        if not _SIZE_CODES.isdisjoint(_codes(error)):
            message = f"{type(error).__name__}, code {error.code}"
            raise TooLargeForStore(message) from error
        if not _CONTENT_CODES.isdisjoint(_codes(error)):
            message = f"{type(error).__name__}, code {error.code}"
            raise RefusedByStore(message) from error
        raise _unavailable(error) from error
    except PyMongoError as error:
        raise _unavailable(error) from error


async def create_indexes(database: Database) -> None:
    """Create what the queries need; harmless when it exists.

    Raises:
        HistoryUnavailable: the database is away.
    """
    for collection, indexes in _INDEXES.items():
        for keys in indexes:
            with border():
                await database[collection].create_index(list(keys), background=True)


def document_of(record: Record) -> Document:
    """The record as MongoDB stores it, without its absent fields."""
    document = record.model_dump(exclude_none=True)
    return {"_id": document.pop("id"), **document}


def fields_of(document: Mapping[str, Any]) -> Document:
    """What a record is made of, from a stored document."""
    return {"id": document["_id"], **document}


def _codes(error: OperationFailure) -> set[int | None]:
    """Why the server refused: a bulk write has a code of its own, and one for each document."""
    refused = (error.details or {}).get("writeErrors", ())
    each = [one.get("code") for one in refused] if isinstance(error, BulkWriteError) else []
    return {error.code, *each}


def _unavailable(error: Exception) -> HistoryUnavailable:
    # Not the driver's text: it may quote a document.
    log.info("database_failed", error=type(error).__name__)
    return HistoryUnavailable("The database does not answer.")
