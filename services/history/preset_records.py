"""Presets, settings of models and preferences of users as they are stored."""

from typing import Final

from services.history.records import Record, from_milliseconds
from shared.contracts.history import SessionSettings
from shared.contracts.ids import UserId
from shared.contracts.presets import ModelSettings, Preset

_SORTED_BY: Final = 100
"""Characters of a name that count in the order of lists: it stands in every cursor."""


class PresetRecord(Record):
    """A preset with its settings, all of them replaced together."""

    id: str
    user_id: UserId
    """Its owner."""
    name: str
    description: str = ""
    public: bool = False
    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    system_prompt: str | None = None
    tools: list[str] | None = None
    version: int = 1
    created_at: int
    updated_at: int

    @property
    def order(self) -> str:
        """Sorts a list, and is unique: names may be alike."""
        # A separator below all that names are made of: a name comes before its longer ones.
        return f"{self.name.lower()[:_SORTED_BY]}\x01{self.id}"

    def to_preset(self) -> Preset:
        """What queries answer."""
        return Preset(
            **self.model_dump(exclude={"user_id", "created_at", "updated_at"}),
            owner_id=self.user_id,
            created_at=from_milliseconds(self.created_at),
            updated_at=from_milliseconds(self.updated_at),
        )


class ModelSettingsRecord(Record):
    """What is said of one model; ``id`` is its full name."""

    id: str
    temperature: float | None = None
    max_tokens: int | None = None
    tools: bool | None = None
    hidden: bool = False

    def to_settings(self) -> ModelSettings:
        """What queries answer."""
        return ModelSettings(model=self.id, **self.model_dump(exclude={"id"}))


class PreferencesRecord(SessionSettings, Record):
    """What one user prefers; ``id`` is the user's."""

    id: UserId
