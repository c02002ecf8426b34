"""What people do with presets: list, read, create, change, delete."""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import Final

from services.history.preset_ports import PresetStore
from services.history.preset_records import PresetRecord
from services.history.records import to_milliseconds
from shared.contracts.history import SessionSettings
from shared.contracts.ids import UserId
from shared.contracts.presets import (
    CreatePreset,
    DeletePreset,
    ListPresets,
    Preset,
    PresetPage,
    PresetQuery,
    PresetReply,
    UpdatePreset,
)
from shared.errors import InvalidRequest, PresetNotFound, VersionConflict

_PAGE_BYTES: Final = 850_000
"""Presets of one page: a reply has to fit into one message of the broker."""
_TRIES: Final = 5
_SETTINGS: Final = frozenset(SessionSettings.model_fields)


def _found(preset: PresetRecord | None) -> PresetRecord:
    if preset is None:
        raise PresetNotFound("This preset does not exist.", param="preset_id")
    return preset


class Presets:
    """Every method raises ``HistoryUnavailable`` when the database is away."""

    def __init__(self, store: PresetStore, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def page(self, query: ListPresets) -> PresetPage:
        """A page of what the user sees; shorter than asked for where presets are large.

        Raises:
            InvalidRequest: the cursor is malformed.
        """
        after = _parse_cursor(query.cursor) if query.cursor is not None else None
        # One more than asked for tells whether there is a next page.
        records = await self._store.page(query.user_id, query.limit + 1, after)
        page: list[Preset] = []
        size = 0
        for record in records[: query.limit]:
            preset = record.to_preset()
            size += len(preset.to_bytes())
            if page and size > _PAGE_BYTES:
                break
            page.append(preset)
        more = len(records) > len(page)
        cursor = _to_cursor(records[len(page) - 1].order) if more else None
        return PresetPage(presets=page, next_cursor=cursor)

    async def get(self, query: PresetQuery) -> PresetReply:
        """The user's own, or a public one.

        Raises:
            PresetNotFound: it does not exist for this user.
        """
        preset = _found(await self._store.get(query.user_id, query.preset_id))
        return PresetReply(preset=preset.to_preset())

    async def create(self, command: CreatePreset) -> PresetReply:
        """Make it; again, it gives the one that is there.

        Raises:
            PresetNotFound: the id is taken by another user.
        """
        now = to_milliseconds(self._now())
        record = PresetRecord(
            **command.model_dump(exclude={"preset_id"}),
            id=command.preset_id,
            created_at=now,
            updated_at=now,
        )
        return PresetReply(preset=_found(await self._store.create(record)).to_preset())

    async def update(self, command: UpdatePreset) -> PresetReply:
        """Change what the command names; the version rises by one, if anything is different then.

        Raises:
            PresetNotFound: the user owns no such preset; public ones of others are among them.
            VersionConflict: it has another version than the command wants, or many change it.
        """
        for _ in range(_TRIES):
            record = await self._own(command.user_id, command.preset_id, command.version)
            changed = _changed(record, command)
            if changed == record:
                return PresetReply(preset=record.to_preset(), was_public=record.public)
            changed = _moved(changed, to_milliseconds(self._now()))
            if await self._store.replace(changed, record.version):
                return PresetReply(preset=changed.to_preset(), was_public=record.public)
        raise VersionConflict("Others change this preset at the same time; try again.")

    async def delete(self, command: DeletePreset) -> PresetReply:
        """Remove it for good; gives it as it was.

        Raises:
            PresetNotFound: as for ``update``; a second delete says so too.
            VersionConflict: as for ``update``.
        """
        for _ in range(_TRIES):
            record = await self._own(command.user_id, command.preset_id, command.version)
            if await self._store.delete(record.user_id, record.id, record.version):
                return PresetReply(preset=record.to_preset())
        raise VersionConflict("Others change this preset at the same time; try again.")

    async def _own(self, user_id: UserId, preset_id: str, version: int | None) -> PresetRecord:
        record = _found(await self._store.get(user_id, preset_id))
        if record.user_id != user_id:
            # What may only be read does not exist for who would change it.
            _found(None)
        if version is not None and version != record.version:
            message = f"This preset has version {record.version}, not {version}."
            raise VersionConflict(message, param="version")
        return record


def _changed(record: PresetRecord, command: UpdatePreset) -> PresetRecord:
    named = command.model_dump(include={"name", "description", "public"}, exclude_none=True)
    settings = command.settings.model_dump(exclude_none=True) if command.settings else {}
    cleared = dict.fromkeys(_SETTINGS.intersection(command.cleared))
    return record.model_copy(update={**cleared, **settings, **named})


def _moved(record: PresetRecord, now: int) -> PresetRecord:
    # Moves even where another process's clock is ahead of this one.
    moved = max(now, record.updated_at + 1)
    return record.model_copy(update={"version": record.version + 1, "updated_at": moved})


def _to_cursor(order: str) -> str:
    return base64.urlsafe_b64encode(order.encode()).rstrip(b"=").decode()


def _parse_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        order = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("The cursor is none that a page has given.", param="cursor") from error
    if "\x01" not in order or "\0" in order:
        raise InvalidRequest("The cursor is none that a page has given.", param="cursor")
    return order
