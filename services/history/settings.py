"""Settings of the history service: ``HISTORY_*``, ``MONGODB_URL`` and the broker's."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.durations import Duration
from shared.settings import NatsSettings


class MongoSettings(BaseSettings):
    """How to reach the database: ``MONGODB_URL``."""

    model_config = SettingsConfigDict(env_prefix="MONGODB_", frozen=True, extra="ignore")

    url: str = Field(
        default="mongodb://127.0.0.1:27017",
        pattern=r"^mongodb(\+srv)?://",
        description="The database.",
    )


class HistorySettings(BaseSettings):
    """What one history process does at once, and how often it tidies up."""

    model_config = SettingsConfigDict(env_prefix="HISTORY_", frozen=True, extra="ignore")

    database: str = Field(
        default="parley", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="Name of the database."
    )
    consumers: int = Field(
        default=4, ge=1, le=16, description="Events that one process stores at once."
    )
    query_workers: int = Field(
        default=32, ge=1, description="Queries of one kind that one process answers at once."
    )
    read_wait: Duration = Field(
        default=timedelta(seconds=1.5),
        ge=timedelta(0),
        description="Longest wait of a list for events that are not stored yet.",
    )
    purge_interval: Duration = Field(
        default=timedelta(seconds=5),
        gt=timedelta(0),
        description="How often stored events are removed from CHAT_EVENTS.",
    )
    keep_events: Duration = Field(
        default=timedelta(hours=1),
        ge=timedelta(0),
        description="How long a stored event stays readable while there is room.",
    )
    sweep_interval: Duration = Field(
        default=timedelta(seconds=15),
        gt=timedelta(0),
        description="How often completions without an end are looked for.",
    )
    sweep_slack: Duration = Field(
        default=timedelta(seconds=60),
        ge=timedelta(0),
        description="Added to a completion's deadlines; also covers this machine's clock.",
    )
    purge_after: Duration = Field(
        default=timedelta(days=30),
        ge=timedelta(0),
        description="When a deleted session is really removed; 0 means never.",
    )


class Settings(BaseSettings):
    """Everything that the history service reads from the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    nats: NatsSettings = Field(default_factory=NatsSettings)
    mongo: MongoSettings = Field(default_factory=MongoSettings)
    history: HistorySettings = Field(default_factory=HistorySettings)
