"""Usage on MongoDB: sums by one precomputed field.

The embedded server (nx-27017) makes one silent group of everything where the key has two parts,
and knows no ``$percentile``; its ``count_documents`` walks all documents. The index on ``user_id``
serves every query here, on MongoDB that on ``user_id`` and ``day`` those of usage.
"""

import asyncio
from collections.abc import Collection
from typing import Any, Final

from services.history.adapters.mongo_client import (
    COMPLETIONS,
    SESSIONS,
    USAGE,
    Database,
    Document,
    border,
)
from services.history.usage_ports import FirstToken, Tally, UsageSum
from shared.contracts.ids import CompletionId, UserId

_SUMS: Final[Document] = {
    "_id": "$day_model",
    "requests": {"$sum": 1},
    "prompt_tokens": {"$sum": "$prompt_tokens"},
    "completion_tokens": {"$sum": "$completion_tokens"},
    "total_tokens": {"$sum": "$total_tokens"},
}
_ESTIMATED: Final[Document] = {"_id": "$day_model", "requests": {"$sum": 1}}
_TALLY: Final[Document] = {
    "_id": "$user_id",
    "sessions": {"$sum": 1},
    "messages": {"$sum": "$message_count"},
}
_TIMED: Final = {"_id": 0, "day_model": 1, "first_token_ms": 1}


class MongoUsageStore:
    """``UsageStore`` on MongoDB."""

    def __init__(self, database: Database) -> None:
        self._usage = database[USAGE]
        self._sessions = database[SESSIONS]
        self._completions = database[COMPLETIONS]

    async def sums(
        self, user_id: UserId, first: str, last: str, *, key_id: str | None = None
    ) -> list[UsageSum]:
        """See the port."""
        matched = _days(user_id, first, last)
        if key_id is not None:
            matched["key_id"] = key_id
        groups = await self._grouped(matched, _SUMS)
        rough = await self._grouped({**matched, "estimated": True}, _ESTIMATED)
        estimated = {group["_id"]: group["requests"] for group in rough}
        return [
            UsageSum(
                *_parts(group["_id"]),
                requests=group["requests"],
                prompt_tokens=group["prompt_tokens"],
                completion_tokens=group["completion_tokens"],
                total_tokens=group["total_tokens"],
                estimated=estimated.get(group["_id"], 0),
            )
            for group in groups
        ]

    async def ended(
        self, user_id: UserId, completion_ids: Collection[CompletionId]
    ) -> set[CompletionId]:
        """See the port."""
        if not completion_ids:
            return set()
        named = {"_id": {"$in": list(completion_ids)}, "user_id": user_id}
        with border():
            found = await asyncio.gather(
                self._usage.find(named, {"_id": 1}).to_list(None),
                self._completions.find(
                    {**named, "ended_at": {"$exists": True}}, {"_id": 1}
                ).to_list(None),
            )
        return {CompletionId(document["_id"]) for documents in found for document in documents}

    async def first_tokens(
        self, user_id: UserId, first: str, last: str, limit: int
    ) -> list[FirstToken]:
        """See the port."""
        query = {**_days(user_id, first, last), "first_token_ms": {"$exists": True}}
        with border():
            cursor = self._usage.find(query, _TIMED).sort("day", -1).limit(limit)
            documents = await cursor.to_list(limit)
        return [
            FirstToken(*_parts(document["day_model"]), document["first_token_ms"])
            for document in documents
        ]

    async def tally(self, user_id: UserId) -> Tally:
        """See the port. One group over the user's sessions: no message is touched."""
        matched = {"user_id": user_id, "deleted_at": {"$exists": False}}
        with border():
            cursor = self._sessions.aggregate([{"$match": matched}, {"$group": _TALLY}])
            groups = await cursor.to_list(1)
        if not groups:
            return Tally(0, 0)
        return Tally(groups[0]["sessions"], groups[0]["messages"])

    async def _grouped(self, matched: Document, group: Document) -> list[dict[str, Any]]:
        with border():
            cursor = self._usage.aggregate([{"$match": matched}, {"$group": group}])
            return [dict(document) for document in await cursor.to_list(None)]


def _days(user_id: UserId, first: str, last: str) -> Document:
    return {"user_id": user_id, "day": {"$gte": first, "$lte": last}}


def _parts(day_model: str) -> tuple[str, str]:
    day, _, model = day_model.partition("|")
    return day, model
