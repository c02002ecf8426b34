"""Which index a database uses for the queries that it is asked."""

from typing import Any, Final

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

SCAN: Final = "every document"


class Queries(CommandListener):
    """Remembers every ``find`` of a client that it listens to, and how many documents it gave."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.given = 0

    def client(self, url: str) -> AsyncIOMotorClient:
        """A client that this one listens to."""
        return AsyncIOMotorClient(url, event_listeners=[self])

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find":
            self.asked.append(dict(event.command))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        if event.command_name in ("find", "getMore"):
            cursor = event.reply["cursor"]
            self.given += len(cursor.get("firstBatch", cursor.get("nextBatch", ())))

    def failed(self, event: CommandFailedEvent) -> None:
        return

    def forget(self) -> None:
        """Begin anew."""
        self.asked.clear()
        self.given = 0


async def indexes_of(database: AsyncIOMotorDatabase, asked: list[dict[str, Any]]) -> list[str]:
    """For each of these ``find`` commands the name of the index that serves it, or ``SCAN``."""
    names = []
    for command in asked:
        find = {key: command[key] for key in ("find", "filter", "sort", "limit") if key in command}
        plan = await database.command("explain", find)
        names.append(_index_in(plan["queryPlanner"].get("winningPlan")) or SCAN)
    return names


def _index_in(plan: Any) -> str | None:  # noqa: ANN401 - as deep as the server likes
    if isinstance(plan, list):
        return next((name for step in plan if (name := _index_in(step))), None)
    if not isinstance(plan, dict):
        return None
    detail = str(plan.get("detail", ""))
    if "USING INDEX" in detail or "USING COVERING INDEX" in detail:
        # The embedded server: SQLite's words, of its name for the index.
        return detail.split("INDEX ", 1)[1].split()[0].removeprefix("idx_")
    if plan.get("stage") in ("IDHACK", "EXPRESS_IXSCAN"):
        return str(plan.get("indexName", "_id_"))
    if "indexName" in plan:
        return str(plan["indexName"])
    return next((name for step in plan.values() if (name := _index_in(step))), None)
