"""Settings of models, the default model, preferences."""

from services.history.news import News
from services.history.preferences import KeptSettings
from shared.contracts.presets import (
    ModelSettings,
    ModelSettingsQuery,
    Preferences,
    PreferencesQuery,
    SetModelSettings,
    SetPreferences,
)
from tests.fakes.history.conversation import OTHER, USER
from tests.fakes.history.memory_presets import MemorySettingsStore
from tests.fakes.history.told import Told


async def test_a_model_goes_by_its_full_name() -> None:
    kept = KeptSettings(MemorySettingsStore(), News(Told()))
    await kept.set_model(SetModelSettings(settings=ModelSettings(model="demo", temperature=0.1)))
    await kept.set_model(SetModelSettings(default_model="demo"))

    known = await kept.set_model(
        SetModelSettings(settings=ModelSettings(model="demo:latest", hidden=True))
    )

    assert known.models == [ModelSettings(model="demo:latest", hidden=True)]
    assert known.default_model == "demo:latest"
    assert await kept.models(ModelSettingsQuery()) == known
    cleared = await kept.set_model(SetModelSettings(clear_default=True))
    assert cleared.default_model is None
    assert cleared.models == known.models


async def test_who_never_said_anything_prefers_nothing() -> None:
    kept = KeptSettings(MemorySettingsStore(), News(Told()))
    mine = Preferences(model="demo", tools=[])
    await kept.set_preferences(SetPreferences(user_id=USER, preferences=mine))

    assert (await kept.preferences(PreferencesQuery(user_id=USER))).preferences == mine
    assert (await kept.preferences(PreferencesQuery(user_id=OTHER))).preferences == Preferences()
