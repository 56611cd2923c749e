"""Settings of the identity provider, shared by the API and Flower."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, SecretStr, model_validator

from worker.config.secret_files import SecretFiles


class ProviderSettings(SecretFiles):
    """Our client at the provider, the provider's URLs, and the claims that are used: ``SAPI_OAUTH_<NAME>``."""

    #: Variables of the predecessor that have another name here, by field; each is read where the new one is not set.
    predecessor_names: ClassVar[Mapping[str, str]] = {"oauth_token_url": "SAPI_OAUTH_ACCESS_TOKEN_URL"}

    oauth_client_id: str = Field("", description="Public client ID of this service at the provider (none: no sign-in)")
    oauth_secret_key: SecretStr = Field(SecretStr(""), description="Private key (client secret) of this service there")
    oauth_token_url: str = Field(
        "https://oauth.web.cern.ch/OAuth/Token",
        description="Where codes become tokens (also as `SAPI_OAUTH_ACCESS_TOKEN_URL`)",
    )
    oauth_authorize_url: str = Field(
        "https://oauth.web.cern.ch/OAuth/Authorize", description="Where browsers are sent to sign in"
    )
    oauth_groups_url: str = Field(
        "https://oauthresource.web.cern.ch/api/Groups",
        description='What answers {"groups": [...]} to a user\'s token (with another provider: only when set)',
    )
    oauth_discovery_url: str = Field(
        "", description="The provider's .well-known/openid-configuration; replaces the token and authorize URLs"
    )
    oauth_scope: str = Field(
        "", description="Scopes to ask for (default: openid profile email with a discovery URL, else none)"
    )
    oauth_groups_claim: str = Field("groups", description="Claim that lists the groups (CERN: cern_roles)")
    oauth_name_claim: str = Field(
        "preferred_username", description="Claim that names the user; sub where it is missing"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_predecessor_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        old = {field: os.environ.get(variable) for field, variable in cls.predecessor_names.items()}
        return {field: value for field, value in old.items() if value} | values

    @property
    def scope(self) -> str:
        """The scopes to ask for; empty for none."""
        return self.oauth_scope or ("openid profile email" if self.oauth_discovery_url else "")
