"""Settings of the gateway: ``API_*``, and the deadlines and addresses it shares with others."""

import ipaddress
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, InstanceOf, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.api.prices import PriceTable, parse_price_table
from shared.durations import Duration
from shared.settings import DeadlineSettings, NatsSettings

MIB = 2**20


def _comma_separated(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


class ApiSettings(BaseSettings):
    """How the gateway listens, and how patient it is."""

    model_config = SettingsConfigDict(env_prefix="API_", frozen=True, extra="ignore")

    host: str = Field(
        default="127.0.0.1", description="Where `parley api` listens; `parley up` takes --host."
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="Port of `parley api`, 0 for a free one; `parley up` takes --port.",
    )
    auth: Literal["local", "open", "required"] = Field(
        default="local", description="local: everyone is user `local`, on a loopback address only."
    )
    max_body_bytes: int = Field(
        default=6 * MIB, ge=1024, description="Largest request body; beyond it 413."
    )
    body_timeout: Duration = Field(
        default=timedelta(seconds=30),
        gt=timedelta(0),
        description="A body of which nothing comes for so long is not waited for.",
    )
    cors_origins: Annotated[list[str], NoDecode, BeforeValidator(_comma_separated)] = Field(
        default_factory=list, description="Origins of other web pages, by commas."
    )
    header_hold: Duration = Field(
        default=timedelta(seconds=5),
        description="How long a stream's headers wait for its first content: until then a "
        "failure is an HTTP status.",
    )
    ping_interval: Duration = Field(
        default=timedelta(seconds=10), gt=timedelta(0), description="Comment lines in quiet time."
    )
    silence: Duration = Field(
        default=timedelta(seconds=6),
        gt=timedelta(0),
        description="Without a frame for so long, the broker is asked how the completion stands.",
    )
    send_timeout: Duration = Field(
        default=timedelta(seconds=60), description="A client that takes no byte for so long is cut."
    )
    mailbox_bytes: int = Field(
        default=MIB, ge=64 * 1024, description="What a slow client's stream may hold in memory."
    )
    resume_grace: Duration = Field(
        default=timedelta(seconds=60),
        ge=timedelta(0),
        description="How long an answer that can be resumed goes on without a viewer.",
    )
    requests_per_minute: int = Field(
        default=20,
        ge=0,
        le=1_000_000,
        description="Answers that a user may start in a minute, over all gateways: so many at "
        "once, then evenly; 0 for any number.",
    )
    concurrent_requests: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Answers of a user that may run or wait at once, over all gateways; 0 for any "
        "number.",
    )
    tokens_per_minute: int = Field(
        default=0,
        ge=0,
        description="Tokens, of prompts and answers, that a user may use in a minute; 0 for any "
        "number.",
    )
    tokens_per_day: int = Field(default=0, ge=0, description="The same for a day.")
    other_requests_per_minute: int = Field(
        default=600,
        ge=0,
        le=1_000_000,
        description="What else a user may ask one gateway in a minute, messages of WebSockets "
        "included; 0 for any number.",
    )
    sockets_per_user: int = Field(
        default=100, ge=1, description="WebSockets that a user may have open at a gateway."
    )
    socket_message_bytes: int = Field(
        default=MIB,
        ge=1024,
        description="Largest message of a WebSocket; beyond it, 1009.",
    )
    socket_idle: Duration = Field(
        default=timedelta(hours=1),
        gt=timedelta(0),
        description="A WebSocket without a message of its client's for so long is closed, 4408.",
    )
    cancel_patience: Duration = Field(
        default=timedelta(seconds=60), description="How long a cancel is retried on broker trouble."
    )
    idempotency_ttl: Duration = Field(
        default=timedelta(minutes=10),
        ge=timedelta(seconds=1),
        description="How long an Idempotency-Key stands for its completion.",
    )
    catalog_age: Duration = Field(
        default=timedelta(seconds=12), description="A worker silent for so long is gone."
    )
    drain_timeout: Duration = Field(
        default=timedelta(seconds=30), description="What running answers get on SIGTERM."
    )
    startup_timeout: Duration = Field(
        default=timedelta(seconds=10), description="How long to wait for the broker at start."
    )
    prices: Annotated[InstanceOf[PriceTable], NoDecode, BeforeValidator(parse_price_table)] = Field(
        default_factory=PriceTable,
        description='Money per million tokens by model, the first name that fits: `{"llama*": '
        '{"prompt": 0.15, "completion": 0.6}}`, or the path of a file with that; others cost 0.',
    )
    currency: str = Field(
        default="USD", pattern=r"^[A-Za-z]{1,16}$", description="What the prices are in."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR."
    )

    @field_validator("auth")
    @classmethod
    def _auth_is_available(cls, value: str) -> str:
        if value != "local":
            message = f"API_AUTH={value} is not available yet; use API_AUTH=local"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _local_means_loopback(self) -> Self:
        if self.auth == "local" and not _is_loopback(self.host):
            message = (
                f"API_AUTH=local lets everyone in, so API_HOST must be a loopback address such as "
                f"127.0.0.1, not {self.host}"
            )
            raise ValueError(message)
        return self


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


class Settings(BaseSettings):
    """Everything that the gateway reads from the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    api: ApiSettings = Field(default_factory=ApiSettings)
    nats: NatsSettings = Field(default_factory=NatsSettings)
    deadlines: DeadlineSettings = Field(default_factory=DeadlineSettings)
    llm: LlmSettings = Field(default_factory=LlmSettings)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
