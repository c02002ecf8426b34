"""Settings of provisioning: ``PROVISION_*``, and the deadlines that sizes and ages follow from."""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.contracts.streams import Capacity
from shared.durations import Duration
from shared.settings import AckSettings, DeadlineSettings, NatsSettings


class ProvisionSettings(BaseSettings):
    """What the streams must hold."""

    model_config = SettingsConfigDict(env_prefix="PROVISION_", frozen=True, extra="ignore")

    queue_limit: int = Field(
        default=256, ge=1, description="Requests of one model and lane, running and waiting."
    )
    events_max_bytes: int = Field(
        default=2 * 2**30, ge=2**16, description="Size of CHAT_EVENTS; full means no new work."
    )
    chunks_max_bytes: int = Field(default=2**30, ge=2**20, description="Size of CHAT_CHUNKS.")
    check_interval: Duration = Field(
        default=timedelta(seconds=2),
        gt=timedelta(0),
        description="How often --watch looks for what is missing.",
    )


class Settings(BaseSettings):
    """Everything that provisioning reads from the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    nats: NatsSettings = Field(default_factory=NatsSettings)
    deadlines: DeadlineSettings = Field(default_factory=DeadlineSettings)
    ack: AckSettings = Field(default_factory=AckSettings)
    provision: ProvisionSettings = Field(default_factory=ProvisionSettings)

    @model_validator(mode="after")
    def _deadlines_are_longer_than_a_takeover(self) -> Self:
        if self.deadlines.generating_deadline < self.ack.ack_wait:
            message = "CHAT_GENERATING_DEADLINE must not be shorter than WORKER_ACK_WAIT"
            raise ValueError(message)
        return self

    def capacity(self) -> Capacity:
        """The limits that the stream definitions are computed from."""
        return Capacity(
            queue_limit=self.provision.queue_limit,
            waiting_deadline=self.deadlines.waiting_deadline,
            generating_deadline=self.deadlines.generating_deadline,
            ack_wait=self.ack.ack_wait,
            events_max_bytes=self.provision.events_max_bytes,
            chunks_max_bytes=self.provision.chunks_max_bytes,
        )
