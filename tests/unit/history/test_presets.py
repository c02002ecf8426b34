"""Presets as their owners and others use them."""

from datetime import datetime, timedelta

import pytest

from services.history.preset_records import PresetRecord
from services.history.presets import Presets
from shared.contracts.history import SessionSettings
from shared.contracts.presets import (
    CreatePreset,
    DeletePreset,
    ListPresets,
    Preset,
    PresetQuery,
    UpdatePreset,
)
from shared.errors import InvalidRequest, PresetNotFound, VersionConflict
from tests.fakes.history.conversation import NOON, OTHER, USER
from tests.fakes.history.memory_presets import MemoryPresetStore


class _Scene:
    """Presets on an empty store, with a clock that a test sets."""

    def __init__(self, store: MemoryPresetStore | None = None) -> None:
        self.store = store or MemoryPresetStore()
        self.now = NOON
        self.presets = Presets(self.store, now=self._now)

    def _now(self) -> datetime:
        return self.now

    async def create(self, preset_id: str = "p1", **fields: object) -> Preset:
        command = CreatePreset.model_validate(
            {"user_id": USER, "preset_id": preset_id, "name": "Reviewer", **fields}
        )
        made = (await self.presets.create(command)).preset
        assert made is not None
        return made

    async def update(self, **fields: object) -> Preset:
        command = UpdatePreset.model_validate({"user_id": USER, "preset_id": "p1", **fields})
        changed = (await self.presets.update(command)).preset
        assert changed is not None
        return changed


async def test_a_preset_has_what_it_was_made_with() -> None:
    scene = _Scene()
    made = await scene.create(system_prompt="Be brief.", temperature=0.2, public=True)

    assert (made.name, made.owner_id, made.version) == ("Reviewer", USER, 1)
    assert (made.system_prompt, made.temperature, made.public) == ("Be brief.", 0.2, True)
    assert made.created_at == made.updated_at == NOON
    read = await scene.presets.get(PresetQuery(user_id=OTHER, preset_id="p1"))
    assert read.preset == made


async def test_a_change_touches_what_it_names_and_clears_what_it_clears() -> None:
    scene = _Scene()
    await scene.create(system_prompt="Be brief.", temperature=0.2, top_p=0.5, tools=["a"])
    scene.now += timedelta(seconds=1)

    changed = await scene.update(
        name="Critic",
        settings=SessionSettings(temperature=0.0),
        cleared=["top_p", "tools", "id"],
        version=1,
    )

    assert (changed.name, changed.version, changed.id) == ("Critic", 2, "p1")
    assert (changed.temperature, changed.top_p, changed.tools) == (0.0, None, None)
    assert changed.system_prompt == "Be brief."
    assert changed.updated_at == scene.now


async def test_what_is_so_already_is_no_change() -> None:
    scene = _Scene()
    made = await scene.create(temperature=0.2)
    scene.now += timedelta(seconds=1)

    same = SessionSettings(temperature=0.2)
    assert await scene.update(name="Reviewer", settings=same, cleared=["top_p"]) == made


async def test_a_change_moves_the_time_also_against_a_clock_that_goes_back() -> None:
    scene = _Scene()
    made = await scene.create()
    scene.now -= timedelta(minutes=1)

    assert (await scene.update(name="Later")).updated_at > made.updated_at


async def test_an_old_version_changes_and_deletes_nothing() -> None:
    scene = _Scene()
    await scene.create()
    await scene.update(name="Second")

    with pytest.raises(VersionConflict, match="preset has version 2, not 1"):
        await scene.update(name="Third", version=1)
    with pytest.raises(VersionConflict):
        await scene.presets.delete(DeletePreset(user_id=USER, preset_id="p1", version=1))
    assert scene.store.presets["p1"].name == "Second"


class _Racing(MemoryPresetStore):
    """Somebody else changes the preset just before the first replacement."""

    raced = False

    async def replace(self, preset: PresetRecord, version: int) -> bool:
        if not self.raced:
            self.raced = True
            faster = {"version": version + 1, "public": True}
            self.presets[preset.id] = self.presets[preset.id].model_copy(update=faster)
        return await super().replace(preset, version)


async def test_a_change_without_a_version_goes_on_top_of_whatever_is_there() -> None:
    scene = _Scene(_Racing())
    await scene.create()

    changed = await scene.update(name="Mine")

    assert (changed.name, changed.version, changed.public) == ("Mine", 3, True)


async def test_a_change_of_a_version_that_goes_at_that_moment_is_a_conflict() -> None:
    scene = _Scene(_Racing())
    await scene.create()

    with pytest.raises(VersionConflict):
        await scene.update(name="Mine", version=1)


@pytest.mark.parametrize("public", [True, False])
async def test_only_the_owner_changes_a_preset_and_it_looks_unknown_to_others(
    public: bool,
) -> None:
    scene = _Scene()
    await scene.create(public=public)

    messages = set()
    for preset_id in ("p1", "unknown"):
        with pytest.raises(PresetNotFound) as refused:
            await scene.presets.update(
                UpdatePreset(user_id=OTHER, preset_id=preset_id, name="Mine", version=9)
            )
        messages.add(refused.value.message)
        with pytest.raises(PresetNotFound) as refused:
            await scene.presets.delete(DeletePreset(user_id=OTHER, preset_id=preset_id, version=9))
        messages.add(refused.value.message)
    assert len(messages) == 1
    assert scene.store.presets["p1"].name == "Reviewer"


async def test_a_taken_id_says_nothing_of_its_owner() -> None:
    scene = _Scene()
    await scene.create()
    with pytest.raises(PresetNotFound):
        await scene.create(user_id=OTHER)


async def test_a_list_goes_over_pages_to_its_end() -> None:
    scene = _Scene()
    for number in range(5):
        await scene.create(f"p{number}", name=f"Preset {number}")

    first = await scene.presets.page(ListPresets(user_id=USER, limit=3))
    rest = await scene.presets.page(ListPresets(user_id=USER, limit=3, cursor=first.next_cursor))

    assert [it.id for it in (*first.presets, *rest.presets)] == ["p0", "p1", "p2", "p3", "p4"]
    assert rest.next_cursor is None


async def test_large_presets_make_short_pages_that_join() -> None:
    scene = _Scene()
    for number in range(12):
        await scene.create(f"p{number:02}", name="Large", system_prompt="ü" * 32_000 * 3)

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await scene.presets.page(ListPresets(user_id=USER, cursor=cursor))
        assert len(page.to_bytes()) < 900_000
        seen += [it.id for it in page.presets]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == [f"p{number:02}" for number in range(12)]


@pytest.mark.parametrize("cursor", ["", "?", "x", "YWJj", "_w", "AAE"])
async def test_a_malformed_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await _Scene().presets.page(ListPresets(user_id=USER, cursor=cursor))
