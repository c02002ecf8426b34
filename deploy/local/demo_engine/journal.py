"""What the engine saw and did: the witness for cancelled and doubled generation.

One entry for each chat request, kept while it is queued and running too. Times are seconds of the
Unix clock, null until they happen.
"""

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from deploy.local.demo_engine.chat_request import ChatRequest

KEPT = 4096


@dataclass(slots=True)
class Entry:
    """One request.

    ``outcome`` is "queued", "running", and at the end one of "done", "length", "load", "unload",
    "closed_by_client", "shutdown", "fault:<name>" or "refused:<status>". ``fault`` is the one that
    struck; a stalled request is "running" until its client closes. ``closed_at`` is when that
    closing was noticed, ``stopped_after`` the seconds from there to the end of the generation.
    ``digest`` is of the prompt without a trailing assistant message, so all attempts at one answer
    share it. ``tokens_sent`` counts this request's own.
    """

    id: int
    model: str
    received_at: float
    digest: str = ""
    continued: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: int | None = None
    tokens_sent: int = 0
    started_at: float | None = None
    first_token_at: float | None = None
    ended_at: float | None = None
    closed_at: float | None = None
    stopped_after: float | None = None
    fault: str | None = None
    outcome: str = "queued"

    def start(self) -> None:
        """The request has got its slot."""
        self.started_at = time.time()
        self.outcome = "running"

    def sent(self, tokens: int) -> None:
        """So many more tokens went out."""
        if self.first_token_at is None:
            self.first_token_at = time.time()
        self.tokens_sent += tokens

    def end(self, outcome: str) -> None:
        """The request is over, unless it was over before: the first word on it counts."""
        if self.ended_at is None:
            self.ended_at = time.time()
            self.outcome = outcome

    def client_closed(self, closed_at: float) -> None:
        """The client went away before the reply was whole; what was over keeps its outcome."""
        self.closed_at = closed_at
        self.stopped_after = max(0.0, time.time() - closed_at)
        self.end("closed_by_client")


class Journal:
    """The entries, the newest ``KEPT`` of them."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._count = 0

    def open(self, request: ChatRequest, received_at: float) -> Entry:
        """A new entry; ids count from 1 and are never used twice."""
        self._count += 1
        entry = Entry(self._count, request.model, received_at, options=dict(request.options))
        self._entries.append(entry)
        return entry

    def clear(self) -> None:
        """Forget the entries."""
        self._entries.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """All entries, in the order in which the requests came."""
        return [asdict(entry) for entry in self._entries]
