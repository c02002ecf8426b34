"""Settings of the worker: ``WORKER_*``, and the requirements' names for its engine."""

from datetime import timedelta
from typing import Final

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.durations import Duration
from shared.settings import NatsSettings

_URL_NAMES: Final = ("OLLAMA_BASE_URL", "LLM_SERVER_URL", "INFERENCE_SERVICE_URL")
_TIMEOUT_NAMES: Final = ("WORKER_TOKEN_TIMEOUT", "INFERENCE_SERVICE_TIMEOUT", "LLM_TIMEOUT")


class WorkerSettings(BaseSettings):
    """How much a worker does at once, and how it ends."""

    model_config = SettingsConfigDict(
        env_prefix="WORKER_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    slots: int = Field(
        default=4,
        ge=1,
        description="Requests at once, over all models. The slots of all workers of an engine "
        "together are its OLLAMA_NUM_PARALLEL: more would wait in its own queue, unseen by "
        "everybody.",
    )
    drain_timeout: Duration = Field(
        default=timedelta(seconds=30),
        description="After SIGTERM, how long running answers may finish; then they are handed "
        "to another worker, or end with an error if their reader has a part of them.",
    )
    coalesce: Duration = Field(
        default=timedelta(0),
        description="Collect tokens for so long before each frame; 0ms sends at once what one "
        "read of the engine held.",
    )
    check_interval: Duration = Field(
        default=timedelta(seconds=10), description="How often to ask the engine for its models."
    )


class EngineSettings(BaseSettings):
    """Where the engine is, and how long it may be quiet: time-outs are between reads."""

    # No prefix: most of these names are older than this project.
    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    url: str = Field(
        default="http://127.0.0.1:11434",
        validation_alias=AliasChoices(*_URL_NAMES),
        description="Address of the engine.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        validation_alias="INFERENCE_SERVICE_API_KEY",
        description="Bearer token for the engine, where something in front of it asks for one.",
    )
    connect_timeout: Duration = Field(
        default=timedelta(seconds=5),
        validation_alias="WORKER_CONNECT_TIMEOUT",
        description="For connecting to the engine.",
    )
    first_token_timeout: Duration = Field(
        default=timedelta(seconds=300),
        validation_alias="WORKER_FIRST_TOKEN_TIMEOUT",
        description="Longest silence before the first token: the engine loads its model then.",
    )
    token_timeout: Duration = Field(
        default=timedelta(seconds=60),
        validation_alias=AliasChoices(*_TIMEOUT_NAMES),
        description="Longest silence between two tokens.",
    )

    @field_validator("url")
    @classmethod
    def _one_engine(cls, url: str) -> str:
        if "," in url:
            message = "one worker drives one engine; parley up starts one per engine"
            raise ValueError(message)
        return url.strip().rstrip("/")


class Settings(BaseSettings):
    """Everything that the worker reads from the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    nats: NatsSettings = Field(default_factory=NatsSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
