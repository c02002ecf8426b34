"""API keys: the record first, then the copy that gateways watch."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime

from services.history.key_ports import KeyCopies, KeyStore
from services.history.key_records import KeyRecord
from services.history.records import to_milliseconds
from services.history.user_ports import Purged
from shared.contracts.api_keys import (
    ADMIN,
    ANONYMOUS,
    CreateKey,
    KeyPage,
    KeyReply,
    ListKeys,
    RevokeKey,
)
from shared.contracts.ids import UserId, parse_session_id
from shared.errors import (
    BrokerUnavailable,
    HistoryUnavailable,
    InvalidRequest,
    KeyNotFound,
    UserLeaving,
)

_ROLES = frozenset({ADMIN})
_LATEST = datetime.max.replace(tzinfo=UTC)
"""With an offset, a later moment can be written; who keeps it can never read it again."""


class ApiKeys:
    """Every method raises ``HistoryUnavailable`` when the database or the broker is away."""

    def __init__(
        self,
        store: KeyStore,
        copies: KeyCopies,
        purges: Purged,
        *,
        now: Callable[[], datetime],
        doubted: Callable[[], None],
    ) -> None:
        """Describe it.

        Args:
            store: The record.
            copies: What gateways watch.
            purges: Which users go.
            now: The time.
            doubted: Called when a copy may not be what the record says: it is to be looked at soon.
        """
        self._store = store
        self._copies = copies
        self._purges = purges
        self._now = now
        self._doubted = doubted

    async def create(self, command: CreateKey) -> KeyReply:
        """Keep it, and let gateways know it.

        Raises:
            InvalidRequest: such a key would be of no use, or nobody's.
            UserLeaving: everything of its user is being removed, and it would go too.
        """
        now = self._now()
        _check(command, now)
        await self._must_stay(command.user_id)
        wanted = KeyRecord(
            **command.model_dump(exclude={"key_id", "expires_at"}),
            id=command.key_id,
            created_at=to_milliseconds(now),
            expires_at=None if command.expires_at is None else to_milliseconds(command.expires_at),
        )
        record = await self._store.create(wanted)
        if record.digest != wanted.digest:
            raise InvalidRequest("There is another key with this id.", param="id")
        try:
            # Again: a removal that has begun meanwhile may have looked for keys already.
            await self._must_stay(command.user_id)
        except UserLeaving:
            await self._store.revoke(record.id, to_milliseconds(now))
            await self._store.remove(record.id)
            # Who mends the copies may have made one.
            self._doubted()
            raise
        with self._telling():
            await self._copies.create(record.digest, record.to_copy())
        return KeyReply(key=record.to_key())

    async def _must_stay(self, user_id: UserId) -> None:
        mark = await self._purges.purge_of(user_id)
        if mark is not None and mark.finished_at is None:
            message = "Everything of this user is being removed; make the key when that is over."
            raise UserLeaving(message, param="user")

    async def page(self, query: ListKeys) -> KeyPage:
        """A page of keys; those that are revoked or have expired are among them."""
        records = await self._store.page(query.user_id, query.limit + 1, query.cursor)
        page = records[: query.limit]
        more = len(records) > len(page)
        return KeyPage(
            keys=[record.to_key() for record in page], next_cursor=page[-1].id if more else None
        )

    async def revoke(self, command: RevokeKey) -> KeyReply:
        """Let it in no more; who repeats it repairs a copy that was not reached before.

        Raises:
            KeyNotFound: there is none.
        """
        record = await self._store.revoke(command.key_id, to_milliseconds(self._now()))
        if record is None:
            raise KeyNotFound("There is no such key.", param="id")
        with self._telling():
            await self._copies.put(record.digest, record.to_copy())
        return KeyReply(key=record.to_key())

    @contextmanager
    def _telling(self) -> Generator[None]:
        told = False
        try:
            yield
            told = True
        except BrokerUnavailable as error:
            raise _not_copied(error) from error
        finally:
            # Also where the time for the command is over.
            if not told:
                self._doubted()


def _check(command: CreateKey, now: datetime) -> None:
    if parse_session_id(command.key_id) != command.key_id:
        raise InvalidRequest("An id of a key is a UUID.", param="id")
    if command.user_id.startswith(ANONYMOUS):
        message = f"Names that begin with {ANONYMOUS} are those of callers without a token."
        raise InvalidRequest(message, param="user")
    if not _ROLES.issuperset(command.roles):
        message = f"There is one role, {ADMIN}."
        raise InvalidRequest(message, param="roles")
    if command.expires_at is not None and command.expires_at.tzinfo is None:
        raise InvalidRequest("A moment needs its offset from UTC.", param="expires_at")
    if command.expires_at is not None and command.expires_at > _LATEST:
        raise InvalidRequest("There is no such time in UTC.", param="expires_at")
    if command.expires_at is not None and command.expires_at <= now:
        raise InvalidRequest("The key would have expired already.", param="expires_at")


def _not_copied(error: BrokerUnavailable) -> HistoryUnavailable:
    message = f"It is stored, but gateways will only hear of it later: {error.message}"
    return HistoryUnavailable(message)
