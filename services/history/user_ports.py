"""Where everything of one user is found and removed."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from services.history.records import Record
from shared.contracts.ids import CompletionId, UserId
from shared.contracts.user_purge import UserData


class PurgeMark(Record):
    """That a user's data was, or is being, removed. Times are milliseconds.

    It names the user only until the work is done; then a digest is left, for late events.
    """

    id: str
    """``user_digest`` of the user."""
    user_id: UserId | None = None
    begun_at: int
    before: int
    """What was accepted earlier is never stored again, whenever its events come."""
    settles_at: int
    """From then on the second pass may run."""
    told_at: int | None = None
    """When gateways knew; ``before`` and ``settles_at`` are reckoned from there."""
    swept_at: int | None = None
    """When the first pass was through."""
    finished_at: int | None = None
    running: list[CompletionId] | None = None
    """Completions that had no end at the first pass, or whose events were dropped since the order:
    nothing else tells any more whose their frames are, and more of them may come."""
    key_ids: list[str] | None = None
    """The user's keys: what was counted under their names is found when they are gone, too."""
    revoked_ids: list[str] | None = None
    """Those of them that let somebody in until then."""
    found: UserData | None = None
    """What there was before anything was removed."""
    holder: str | None = None
    """Who works on it: one process at a time, as it must not remove what comes afterwards."""
    beat: int | None = None
    """Changes as long as its holder lives."""

    def covers(self, asked_at: int) -> bool:
        """Whether what was asked for then (milliseconds) is to leave nothing behind."""
        return self.finished_at is None or asked_at < self.before


class Purged(Protocol):
    """Raises: ``HistoryUnavailable`` when the database is away or slow."""

    async def purge_of(self, user_id: UserId) -> PurgeMark | None:
        """That everything of this user goes or went, if that is so."""
        ...


class PurgeMarks(Protocol):
    """Raises (every call): ``HistoryUnavailable`` when the database is away or slow."""

    async def begin(self, mark: PurgeMark) -> PurgeMark:
        """Store it unless a purge of this user is under way; gives the mark that stands."""
        ...

    async def find(self, digest: str) -> PurgeMark | None:
        """The mark of a user."""
        ...

    async def under_way(self) -> list[PurgeMark]:
        """Those that are not finished."""
        ...

    async def hold(self, seen: PurgeMark, holder: str, beat: int) -> bool:
        """Become who works on it, if it stands as it was ``seen``; or stay it, at a new ``beat``.

        A holder that has not changed for some time may be followed by another one.
        """
        ...

    async def tell(self, digest: str, at: int, before: int, settles_at: int) -> PurgeMark | None:
        """Gateways know of it, unless they did before; gives the mark that stands."""
        ...

    async def keep_found(self, digest: str, found: UserData) -> None:
        """Remember what there was, unless that is known already."""
        ...

    async def keep_keys(self, digest: str, keys: Collection[str], revoked: Collection[str]) -> None:
        """Remember these keys, and which of them are revoked by the purge, beside those before."""
        ...

    async def swept(self, digest: str, at: int, running: Collection[CompletionId]) -> None:
        """The first pass is through; these completions may still say something."""
        ...

    async def keep_running(self, digest: str, completion_id: CompletionId) -> None:
        """Remember a completion beside those of ``swept``, while the purge is under way."""
        ...

    async def finish(self, digest: str, holder: str, at: int) -> bool:
        """All of it is through: forget the user's name, keys and completions.

        ``False``, and nothing is done, if somebody else works on it.
        """
        ...

    async def forget(self, finished_before: int) -> None:
        """Remove marks of purges that were finished earlier."""
        ...


class UserStore(Protocol):
    """All documents of one user, in every collection but ``api_keys``.

    Raises (every call): ``HistoryUnavailable`` when the database is away or slow.
    """

    async def count(self, user_id: UserId) -> UserData:
        """How many there are; keys are not among them.

        Takes as long as there is much of the user, but holds nobody up meanwhile.
        """
        ...

    async def completions(self, user_id: UserId, since: int) -> Sequence[CompletionId]:
        """Completions that were accepted or have ended since, as far as is known."""
        ...

    async def open_completions(self, user_id: UserId) -> Sequence[CompletionId]:
        """Completions without an end, as far as is known."""
        ...

    async def hide(self, user_id: UserId) -> None:
        """Mark all sessions as going: nothing is recorded in them or shown of them any more."""
        ...

    def remove(self, user_id: UserId) -> AsyncGenerator[None]:
        """Remove all that is there; a step follows after each batch."""
        ...


class Traces(Protocol):
    """What the broker holds of users, beside their keys.

    Raises (every call):
        BrokerUnavailable: the broker is away: perhaps not done.
        ApiError: it refuses.
    """

    async def frames_since(self, now: int) -> int:
        """When the oldest completion was accepted whose frames may still be kept."""
        ...

    async def remove_events(self, user_id: UserId) -> dict[CompletionId, bool]:
        """Remove the events of this user; whose they were, and whether an end was among them."""
        ...

    async def remove_frames(self, completions: Collection[CompletionId]) -> None:
        """Remove the frames of these completions."""
        ...

    async def remove_entries(self, user_id: UserId, key_ids: Sequence[str]) -> None:
        """Remove turns, tickets and counts of this user and these keys of theirs."""
        ...

    async def remove_dead_letters(self, user_id: UserId) -> None:
        """Remove dead letters that name this user."""
        ...

    async def remove_requests(self, user_id: UserId) -> list[CompletionId]:
        """Remove requests of this user that nobody has taken out of the queue."""
        ...


class Word(NamedTuple):
    """What was said last of a user, and the revision that a change must name."""

    under_way: bool
    revision: int


class PurgeWords(Protocol):
    """What gateways are told, see ``shared.contracts.user_purge``.

    Raises (every call):
        BrokerUnavailable: the broker is away: perhaps not said.
    """

    async def under_way(self, digest: str) -> None:
        """Let this user in no more, and end what they have open; said again it is a new word."""
        ...

    async def find(self, digest: str) -> Word | None:
        """What stands of this user."""
        ...

    async def say(self, digest: str, after: Word | None) -> bool:
        """As ``under_way``, if nothing was said of them since ``after``."""
        ...

    async def said(self) -> Mapping[str, int]:
        """Who is let in no more, by digest, and the revision that a change must name."""
        ...

    async def take_back(self, digest: str, revision: int) -> bool:
        """Let this user in again, if nothing was said of them since ``revision``."""
        ...
