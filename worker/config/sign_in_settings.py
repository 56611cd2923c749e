"""Settings that the API and Flower share: trusted proxies, limits of sign-in attempts, the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from worker.config.networks import Network, parse_networks
from worker.config.oauth_settings import ProviderSettings
from worker.config.role_groups import split_names
from worker.config.settings import LONGEST_S


def _split(value: object) -> object:
    return split_names(value) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class SignInSettings(ProviderSettings):
    """Settings of signing in: ``SAPI_<NAME>``; those of HTTP Basic are in the classes of the API and of Flower."""

    predecessor_names: ClassVar[Mapping[str, str]] = {
        **ProviderSettings.predecessor_names,
        "basic_auth_username": "BASIC_AUTH_USERNAME",
        "basic_auth_password": "BASIC_AUTH_PASSWORD",
    }

    roles_max_age: int = Field(
        300, ge=10, le=86400, description="Seconds after which the provider is asked anew for the groups of a session"
    )
    session_idle: int = Field(
        3600,
        ge=60,
        le=LONGEST_S,
        description="Seconds without a request after which a session ends (Flower: not counted)",
    )
    trusted_proxies: int = Field(
        0, ge=0, le=16, description="Proxies in front, at most (0: as many as SAPI_TRUSTED_NETWORKS says)"
    )
    trusted_networks: Names = Field(
        (), description="Networks of the proxies whose X-Forwarded-For, -Proto, -Host and -Prefix are believed"
    )
    sign_in_network_limit: int = Field(
        100, ge=1, description="Wrong passwords that may come from one network (an IPv6 /64) in a minute"
    )
    sign_in_user_limit: int = Field(
        300, ge=1, description="Wrong passwords for one user in a minute, from networks where they have not signed in"
    )
    audit_log: str = Field(
        "-", description="File to which each decision is appended as a line of JSON ('-': standard output)"
    )
    audit_rate: int = Field(
        1200,
        ge=0,
        description="Lines a minute that reads and refusals of one user, and of all strangers together, may write to "
        "the audit log; of one network a tenth; the others are counted in one line (0: any number)",
    )

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        try:
            parse_networks(self.trusted_networks)
        except ValueError as error:
            raise ValueError(f"SAPI_TRUSTED_NETWORKS: {error}") from None
        return self

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """The networks of trusted proxies."""
        return parse_networks(self.trusted_networks)
