"""What every store must do with presets, settings of models and preferences."""

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from services.history.adapters.mongo_client import (
    MODEL_SETTINGS,
    PREFERENCES,
    PRESETS,
    create_indexes,
    open_client,
)
from services.history.adapters.mongo_presets import MongoPresetStore
from services.history.adapters.mongo_settings import MongoSettingsStore
from services.history.preset_ports import KnownSettings, PresetStore, SettingsStore
from services.history.preset_records import (
    ModelSettingsRecord,
    PreferencesRecord,
    PresetRecord,
)
from tests.fakes.history.conversation import OTHER, USER
from tests.fakes.history.memory_presets import MemoryPresetStore, MemorySettingsStore
from tests.fakes.history.records import T0


@dataclass(frozen=True)
class Kept:
    """Both ports on one database."""

    presets: PresetStore
    settings: SettingsStore


@pytest.fixture(params=["memory", "nx", "mongodb"])
async def kept(request: pytest.FixtureRequest) -> AsyncGenerator[Kept]:
    if request.param == "memory":
        yield Kept(MemoryPresetStore(), MemorySettingsStore())
        return
    client = open_client(request.getfixturevalue(f"{request.param}_url"))
    database = client["parley_test"]
    for name in (PRESETS, MODEL_SETTINGS, PREFERENCES):
        await database.drop_collection(name)
    await create_indexes(database)
    yield Kept(MongoPresetStore(database), MongoSettingsStore(database))
    client.close()


def preset(name: str = "Reviewer", number: int = 1, **changes: object) -> PresetRecord:
    record = PresetRecord(
        id=f"00000000-0000-7000-8000-{number:012d}",
        user_id=USER,
        name=name,
        created_at=T0,
        updated_at=T0,
    )
    return record.model_copy(update=changes)


FULL = preset(
    description="Reads code",
    model="demo",
    temperature=0.3,
    top_p=0.9,
    max_tokens=200,
    system_prompt="You read code.\nStrictly.",
    tools=["search", "files"],
)


async def test_a_created_preset_comes_back_as_it_was(kept: Kept) -> None:
    assert await kept.presets.create(FULL) == FULL
    assert await kept.presets.get(USER, FULL.id) == FULL


async def test_creating_again_gives_the_first_one_and_nothing_of_anothers(kept: Kept) -> None:
    await kept.presets.create(FULL)

    assert await kept.presets.create(preset("Later")) == FULL
    assert await kept.presets.create(preset("Mine", user_id=OTHER)) is None
    assert await kept.presets.get(USER, FULL.id) == FULL


async def test_a_private_preset_is_its_owners_and_a_public_one_everybodys_to_read(
    kept: Kept,
) -> None:
    await kept.presets.create(preset("Private", 1))
    await kept.presets.create(preset("Public", 2, public=True))

    assert await kept.presets.get(OTHER, preset(number=1).id) is None
    assert [it.name for it in await kept.presets.page(OTHER, 10, None)] == ["Public"]
    public = await kept.presets.get(OTHER, preset(number=2).id)
    assert public is not None
    assert public.user_id == USER
    changed = public.model_copy(update={"user_id": OTHER, "version": 2})
    assert not await kept.presets.replace(changed, 1)
    assert not await kept.presets.delete(OTHER, public.id, 1)
    assert await kept.presets.get(USER, public.id) == public


async def test_a_version_is_replaced_once(kept: Kept) -> None:
    await kept.presets.create(FULL)
    second = preset("Second", version=2, public=True)

    assert await kept.presets.replace(second, 1)
    assert not await kept.presets.replace(preset("Third", version=2), 1)
    # What the second one does not say is gone, not left over from the first.
    assert await kept.presets.get(USER, FULL.id) == second


async def test_of_many_writers_of_one_version_one_wins(kept: Kept) -> None:
    await kept.presets.create(FULL)

    won = await asyncio.gather(
        *(kept.presets.replace(preset(f"Writer {n}", version=2), 1) for n in range(8))
    )

    assert won.count(True) == 1


async def test_only_the_version_that_was_seen_is_deleted(kept: Kept) -> None:
    await kept.presets.create(FULL)

    assert not await kept.presets.delete(USER, FULL.id, 2)
    assert await kept.presets.delete(USER, FULL.id, 1)
    assert not await kept.presets.delete(USER, FULL.id, 1)
    assert await kept.presets.get(USER, FULL.id) is None


async def test_a_preset_made_private_again_leaves_the_lists_of_others(kept: Kept) -> None:
    await kept.presets.create(preset(public=True))
    await kept.presets.replace(preset(version=2), 1)

    assert await kept.presets.page(OTHER, 10, None) == []
    assert len(await kept.presets.page(USER, 10, None)) == 1


async def test_pages_hold_each_preset_once_by_name_then_id(kept: Kept) -> None:
    names = ["b", "A", "a", "Zoë", "zebra", "a longer one", "ü", "b", "😀", "Ärger", "x" * 250]
    made = [
        preset(name, number, public=number % 2 == 0, user_id=USER if number % 3 else OTHER)
        for number, name in enumerate(names, 1)
    ]
    for record in random.Random(7).sample(made, len(made)):
        await kept.presets.create(record)

    seen: list[PresetRecord] = []
    while page := await kept.presets.page(USER, 2, seen[-1].order if seen else None):
        seen += page

    visible = [it for it in made if it.public or it.user_id == USER]
    assert seen == sorted(visible, key=lambda it: it.order)
    assert [it.name for it in seen][:3] == ["A", "a longer one", "b"]


async def test_settings_of_models_are_replaced_whole(kept: Kept) -> None:
    assert await kept.settings.models() == KnownSettings([], None)
    first = ModelSettingsRecord(id="m:latest", temperature=0.5, tools=False, hidden=True)
    await kept.settings.put_model(first)
    await kept.settings.put_model(ModelSettingsRecord(id="hf.co/a/b:Q4", max_tokens=5))
    await kept.settings.put_default("m:latest")

    known = await kept.settings.models()
    assert known == KnownSettings(
        [ModelSettingsRecord(id="hf.co/a/b:Q4", max_tokens=5), first], "m:latest"
    )

    await kept.settings.put_model(ModelSettingsRecord(id="m:latest", max_tokens=9))
    await kept.settings.put_default(None)
    await kept.settings.put_default(None)
    changed = await kept.settings.models()
    assert changed.models[1] == ModelSettingsRecord(id="m:latest", max_tokens=9)
    assert changed.default_model is None


async def test_a_change_of_preferences_leaves_the_others(kept: Kept) -> None:
    change = kept.settings.change_preferences
    assert await change(USER, {}, []) == PreferencesRecord(id=USER)
    assert await change(USER, {"max_tokens": 7, "top_p": 0.5}, []) == PreferencesRecord(
        id=USER, max_tokens=7, top_p=0.5
    )
    left = PreferencesRecord(id=USER, top_p=0.5, tools=["a"])
    assert await change(USER, {"tools": ["a"]}, ["max_tokens", "model"]) == left
    assert await kept.settings.preferences(USER) == left
    assert await kept.settings.preferences(OTHER) is None


async def test_preferences_are_each_users_own(kept: Kept) -> None:
    assert await kept.settings.preferences(USER) is None
    mine = PreferencesRecord(id=USER, model="demo", temperature=0, tools=[], system_prompt="Short.")
    await kept.settings.put_preferences(mine)

    assert await kept.settings.preferences(USER) == mine
    assert await kept.settings.preferences(OTHER) is None
    await kept.settings.put_preferences(PreferencesRecord(id=USER, max_tokens=7))
    assert await kept.settings.preferences(USER) == PreferencesRecord(id=USER, max_tokens=7)
