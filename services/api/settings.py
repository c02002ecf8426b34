"""Settings of the gateway: ``API_*``, and the deadlines and addresses it shares with others."""

import ipaddress
import re
from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.api.budget_settings import BudgetSettings
from services.api.http_settings import HttpSettings
from services.api.llm_settings import LlmSettings
from services.api.oidc_settings import OidcSettings
from shared.durations import Duration
from shared.settings import DeadlineSettings, NatsSettings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MIB = 2**20
_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[?[0-9A-Fa-f:.]+\]?")
_ORIGIN: Final = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?/?")


def _comma_separated(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _networks(value: object) -> object:
    parts = _comma_separated(value)
    if not isinstance(parts, list):
        return parts
    # Strict: 10.1.2.3/8 is a mistake that would trust millions.
    return [ipaddress.ip_network(part) if isinstance(part, str) else part for part in parts]


class ApiSettings(BudgetSettings):
    """How the gateway listens, and how patient it is."""

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
        default="local",
        description="local: everyone is user `local`, on a loopback address only. open: `/v1` for "
        "anyone, the rest with a token. required: a token for all but health.",
    )
    allowed_hosts: Annotated[list[str], NoDecode, BeforeValidator(_comma_separated)] = Field(
        default_factory=list,
        description="Names besides `localhost`, `127.0.0.1`, `::1` and API_HOST under which it is "
        "reached, by commas; `*.example.com` stands for all below. Any other Host is refused, 421.",
    )
    trusted_proxies: Annotated[list[Network], NoDecode, BeforeValidator(_networks)] = Field(
        default_factory=list,
        description="Addresses or networks of proxies whose X-Forwarded-For is believed.",
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
        default_factory=list,
        description="Origins of web pages of other hosts that may use it, by commas: "
        "`https://chat.example.com`.",
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
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR."
    )

    @property
    def names(self) -> list[str]:
        """Hosts that are its own: its address is, where it is not all addresses of the machine."""
        own = [] if _is_wildcard(self.host) else [self.host]
        return [*own, *self.allowed_hosts]

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_are_names(cls, value: list[str]) -> list[str]:
        for host in value:
            if not _HOST.fullmatch(host):
                message = f"{host} is no name of a host; say example.com or *.example.com, no port"
                raise ValueError(message)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_named(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                message = f"{origin} is no origin; say https://chat.example.com, no path, no *"
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.auth == "local" and not _is_loopback(self.host):
            message = (
                f"API_AUTH=local lets everyone in, so API_HOST must be a loopback address such as "
                f"127.0.0.1, not {self.host}"
            )
            raise ValueError(message)
        return self


class Settings(BaseSettings):
    """Everything that the gateway reads from the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    api: ApiSettings = Field(default_factory=ApiSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    nats: NatsSettings = Field(default_factory=NatsSettings)
    deadlines: DeadlineSettings = Field(default_factory=DeadlineSettings)
    llm: LlmSettings = Field(default_factory=LlmSettings)
    oidc: OidcSettings = Field(default_factory=OidcSettings)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host
