"""What a connection may cost: ``API_*`` too, but nothing that a use case needs."""

from datetime import timedelta
from typing import Final, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.durations import Duration

KIB: Final = 1024
MIB: Final = 1024 * KIB


class HttpSettings(BaseSettings):
    """How much of a request the gateway reads, and how long it waits for it."""

    model_config = SettingsConfigDict(env_prefix="API_", frozen=True, extra="ignore")

    max_head_bytes: int = Field(
        default=64 * KIB, ge=KIB, description="Largest head of a request; beyond it 431."
    )
    max_headers: int = Field(
        default=100, ge=10, description="Most header fields of a request; beyond it 431."
    )
    max_url_bytes: int = Field(
        default=8 * KIB,
        ge=KIB,
        description="Longest address of a request, with its query; beyond it 414.",
    )
    max_import_bytes: int = Field(
        default=32 * MIB,
        ge=KIB,
        le=128 * MIB,
        description="Largest file of a session that is imported; beyond it 413.",
    )
    max_files_bytes: int = Field(
        default=256 * MIB,
        ge=2 * KIB,
        description="Bytes of imports and exports that a gateway holds at once, half of them for "
        "one user: beyond it 429 or 503. At least twice API_MAX_IMPORT_BYTES.",
    )
    head_timeout: Duration = Field(
        default=timedelta(seconds=30),
        gt=timedelta(0),
        description="A head that is not whole so long after its first byte, or after the "
        "connection, is not waited for.",
    )
    body_deadline: Duration = Field(
        default=timedelta(minutes=5),
        gt=timedelta(0),
        description="A body that is not whole after so long is not waited for, however it comes.",
    )
    keep_alive: Duration = Field(
        default=timedelta(seconds=75),
        ge=timedelta(seconds=1),
        description="How long an idle connection stays: longer than clients keep theirs.",
    )
    socket_ping_interval: Duration = Field(
        default=timedelta(seconds=20),
        gt=timedelta(0),
        description="How often a WebSocket is sent a ping of the protocol, which browsers answer.",
    )
    socket_ping_timeout: Duration = Field(
        default=timedelta(seconds=20),
        gt=timedelta(0),
        description="A WebSocket that has not answered a ping for so long is closed, 1011.",
    )

    @model_validator(mode="after")
    def _holds_a_file(self) -> Self:
        if self.max_files_bytes < 2 * self.max_import_bytes:
            raise ValueError("API_MAX_FILES_BYTES must be at least twice API_MAX_IMPORT_BYTES")
        return self
