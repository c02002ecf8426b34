"""What sessions are answered with where nobody says anything else: ``LLM_*``."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LlmSettings(BaseSettings):
    """What holds in sessions where nobody says anything else: ``LLM_*``; never in plain ``/v1``."""

    model_config = SettingsConfigDict(
        env_prefix="LLM_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    default_model: str | None = Field(
        default=None,
        max_length=256,
        description="Model of users and sessions that name none, until a default is chosen over "
        "the API.",
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="In sessions where neither request, session, user nor model says one.",
    )
    max_tokens: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="The same for the longest answer."
    )
    enable_tools: bool = Field(
        default=True,
        description="Whether sessions may use tools where a model's own settings do not say it.",
    )
