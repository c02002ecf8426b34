"""``presets/`` and ``preferences/``."""

from typing import Annotated

from pydantic import AliasChoices, Field, field_validator

from services.api.schemas.chat import Whole
from services.api.schemas.model import AnswerModel, Flag, Moment, RequestModel, Text
from services.api.schemas.sessions import SettingsRequest, Title
from shared.contracts.presets import NAME_LENGTH

Description = Annotated[Text, Field(max_length=2000)]
_PUBLIC = Field(validation_alias=AliasChoices("public", "isPublic", "is_public"))
Version = Annotated[Whole, Field(ge=1, lt=2**63)]


def _named(name: str | None) -> str | None:
    if name is not None and not name.strip():
        raise ValueError("A name needs at least one character.")
    return name.strip() if name is not None else None


class SettingsBody(AnswerModel):
    """Settings; null where there is no value."""

    model: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    system_prompt: str | None
    tools: list[str] | None


class PresetRequest(SettingsRequest):
    """A whole preset: what is absent has no value."""

    name: Annotated[Text, Field(max_length=NAME_LENGTH)]
    description: Description = ""
    public: Annotated[Flag, _PUBLIC] = False
    version: Version | None = None
    """Where it is replaced: only if it still has this one; ``If-Match`` says the same."""

    _has_a_name = field_validator("name")(_named)


class PatchPresetRequest(SettingsRequest):
    """What changes of a preset; null takes a setting's value away."""

    name: Annotated[Text, Field(max_length=NAME_LENGTH)] | None = None
    description: Description | None = None
    public: Annotated[Flag | None, _PUBLIC] = None
    version: Version | None = None
    """Only if it still has this one; ``If-Match`` says the same."""

    _has_a_name = field_validator("name")(_named)

    @field_validator("name", "description", "public", mode="before")
    @classmethod
    def _has_a_value(cls, value: object) -> object:
        if value is None:
            raise ValueError("Null is no value of this field.")
        return value


class FromPresetRequest(RequestModel):
    """A session from a preset; without a title its first message gives one."""

    title: Title | None = None


class PresetHead(AnswerModel):
    """What a preset is known by."""

    id: str
    name: str
    description: str
    public: bool


class PresetBody(SettingsBody, PresetHead):  # pydantic begins with the fields of the last base
    """A preset; ``mine`` says whether the user who asks may change it."""

    mine: bool
    version: int
    created_at: Moment
    updated_at: Moment


class PresetListBody(AnswerModel):
    """A page of presets; ``nextCursor`` asks for the next one, null on the last."""

    presets: list[PresetBody]
    next_cursor: str | None


class PreferencesRequest(SettingsRequest):
    """Preferences of the user: where they are replaced, what is absent has no value."""


class PreferencesBody(SettingsBody):
    """What holds where neither request nor session says."""
