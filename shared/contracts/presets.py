"""Presets, settings of models and preferences of users: kept by history, copied into sessions."""

from datetime import datetime
from typing import Final

from pydantic import Field

from shared.contracts.history import Reply, SessionSettings
from shared.contracts.ids import UserId
from shared.contracts.questions import Question
from shared.contracts.wire import WireModel

NAME_LENGTH: Final = 255


class Preset(SessionSettings):
    """A template of a session: private to its owner, or public to all users."""

    id: str
    owner_id: UserId
    name: str
    description: str = ""
    public: bool = False
    version: int = 1
    """Rises with each change, by one."""
    created_at: datetime
    updated_at: datetime


class ListPresets(WireModel):
    """A page of a user's own presets and all public ones, by name in small letters, then by id."""

    user_id: UserId
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = None


class PresetPage(Reply):
    """``next_cursor`` is absent on the last page."""

    presets: list[Preset] = Field(default_factory=list)
    next_cursor: str | None = None


class PresetQuery(WireModel):
    """One preset: the user's own, or a public one."""

    user_id: UserId
    preset_id: str


class PresetReply(Reply):
    """The preset after the command."""

    preset: Preset | None = None
    was_public: bool | None = None
    """Whether all users saw it before a change, for the audit."""


class CreatePreset(SessionSettings):
    """A new preset of this user's."""

    user_id: UserId
    preset_id: str
    name: str = Field(min_length=1, max_length=NAME_LENGTH)
    description: str = Field(default="", max_length=2000)
    public: bool = False


class UpdatePreset(WireModel):
    """Change a preset of this user's own: what is absent stays as it is."""

    user_id: UserId
    preset_id: str
    name: str | None = Field(default=None, min_length=1, max_length=NAME_LENGTH)
    description: str | None = Field(default=None, max_length=2000)
    public: bool | None = None
    settings: SessionSettings | None = None
    cleared: list[str] = Field(default_factory=list)
    """Names of settings that get no value any more."""
    version: int | None = None
    """Only if the preset still has this one."""


class DeletePreset(PresetQuery):
    """Remove a preset of this user's own; sessions made from it keep their settings."""

    version: int | None = None
    """Only if the preset still has this one."""


class ModelSettings(WireModel):
    """What this installation says of a model, for everybody."""

    model: str
    """The engine's full name, with its tag."""
    temperature: float | None = None
    max_tokens: int | None = None
    tools: bool | None = None
    """Whether tools may be offered to it; absent is what the engine says."""
    hidden: bool = False
    """Whether lists leave it out; who names it can still use it."""


class ModelSettingsQuery(WireModel):
    """All of them: there are as many as models."""


class AllModelSettings(Reply):
    """By model; and the model that a user without a preference gets."""

    models: list[ModelSettings] = Field(default_factory=list)
    default_model: str | None = None


class SetModelSettings(WireModel):
    """Replace what is said of one model, or the default of all users."""

    settings: ModelSettings | None = None
    default_model: str | None = None
    clear_default: bool = False


class Preferences(SessionSettings):
    """What a user wants where neither request nor session says."""


class PreferencesQuery(WireModel):
    """Whose."""

    user_id: UserId


class SetPreferences(WireModel):
    """Replace them."""

    user_id: UserId
    preferences: Preferences


class ChangePreferences(WireModel):
    """Change some of them: what is absent stays as it is."""

    user_id: UserId
    settings: SessionSettings
    cleared: list[str] = Field(default_factory=list)
    """Names of settings that the user prefers nothing for any more."""


class PreferencesReply(Reply):
    """As they are now."""

    preferences: Preferences = Preferences()


LIST_PRESETS: Final = Question("list_presets", ListPresets, PresetPage)
GET_PRESET: Final = Question("get_preset", PresetQuery, PresetReply)
CREATE_PRESET: Final = Question("create_preset", CreatePreset, PresetReply, audited=True)
UPDATE_PRESET: Final = Question("update_preset", UpdatePreset, PresetReply, audited=True)
DELETE_PRESET: Final = Question("delete_preset", DeletePreset, PresetReply, audited=True)
MODEL_SETTINGS: Final = Question("model_settings", ModelSettingsQuery, AllModelSettings)
SET_MODEL_SETTINGS: Final = Question(
    "set_model_settings", SetModelSettings, AllModelSettings, audited=True
)
GET_PREFERENCES: Final = Question("get_preferences", PreferencesQuery, PreferencesReply)
CHANGE_PREFERENCES: Final = Question("change_preferences", ChangePreferences, PreferencesReply)
SET_PREFERENCES: Final = Question("set_preferences", SetPreferences, PreferencesReply)
