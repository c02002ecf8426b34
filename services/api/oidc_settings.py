"""Settings of the identity provider whose tokens the gateway takes: ``API_OIDC_*``."""

from datetime import timedelta
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.durations import Duration

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
_ALGORITHMS: Final[tuple[Algorithm, ...]] = ("RS256", "PS256", "ES256", "EdDSA")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def _words(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


class OidcSettings(BaseSettings):
    """Without an issuer, tokens of nobody are taken."""

    model_config = SettingsConfigDict(
        env_prefix="API_OIDC_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    issuer: str | None = Field(
        default=None,
        description="Identity provider whose tokens (JWT) are taken besides API keys, as `iss` "
        "says it.",
    )
    audience: str | None = Field(
        default=None, description="What their `aud` must name; needed with an issuer."
    )
    jwks_url: str | None = Field(
        default=None, description="Where its keys are; unset, its discovery document says it."
    )
    algorithms: Annotated[list[Algorithm], NoDecode, BeforeValidator(_words)] = Field(
        default_factory=lambda: list(_ALGORITHMS),
        min_length=1,
        description="Signatures that count, by commas (`RS256,PS256,ES256,EdDSA`); shared secrets "
        "(HS256) never do.",
    )
    leeway: Duration = Field(
        default=timedelta(seconds=30),
        ge=timedelta(0),
        le=timedelta(seconds=60),
        description="By how much the provider's clock may differ; at most 60s.",
    )
    user_claim: str = Field(
        default="sub", min_length=1, description="The claim that names the user."
    )
    roles_claim: str = Field(
        default="roles",
        min_length=1,
        description="The claim with the user's roles, such as `realm_access.roles`.",
    )
    admin_role: str = Field(
        default="admin", min_length=1, description="The role that makes an administrator."
    )

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            local = parts.scheme == "http" and parts.hostname in _LOOPBACK
            if not parts.hostname or not (parts.scheme == "https" or local):
                raise ValueError("an address starts with https://; http:// on this machine only")
        return value

    @model_validator(mode="after")
    def _names_an_audience(self) -> Self:
        if self.issuer is not None and not self.audience:
            message = (
                "API_OIDC_AUDIENCE is needed with API_OIDC_ISSUER: tokens that were made for "
                "other services would be taken otherwise"
            )
            raise ValueError(message)
        return self
