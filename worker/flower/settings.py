"""Settings of Flower's sign-in: the same variables as the API's."""

from __future__ import annotations

from pydantic import AliasChoices, Field, SecretStr, field_validator

from worker.config.public_url import PUBLIC_URL, check_public_url
from worker.config.role_groups import split_names
from worker.config.settings import LONGEST_S
from worker.config.sign_in_settings import SignInSettings


class FlowerSettings(SignInSettings):
    """Who may use Flower: ``SAPI_<NAME>``."""

    debug: bool = Field(
        False,
        validation_alias=AliasChoices("SAPI_DEBUG", "FLASK_DEBUG"),
        description="Development mode: Flower is open, to this machine only",
    )
    secret_key: SecretStr = Field(SecretStr(""), description="What Flower's cookies are signed with is made of it")
    session_lifetime: int = Field(
        8 * 3600,
        ge=60,
        le=LONGEST_S,
        description="Seconds after which one must sign in again (Flower: at most 8 hours)",
    )
    flower_url: str = Field(
        "",
        pattern=PUBLIC_URL,
        description="Public address of Flower, as in https://flower.example.org (default: as it is asked)",
    )
    flower_groups: str = Field("", description="Groups whose members may look (default: those of ADMIN and UBER_ADMIN)")
    role_admin_groups: str = Field("", description="Groups whose members are ADMIN")
    role_uber_admin_groups: str = Field("", description="Groups whose members are UBER_ADMIN")
    basic_auth_username: str = Field("", description="Without a provider: user of HTTP Basic")
    basic_auth_password: SecretStr = Field(SecretStr(""), description="Password of that user")

    @field_validator("flower_url")
    @classmethod
    def _check_flower_url(cls, url: str) -> str:
        return check_public_url(url)

    @field_validator("flower_groups", "role_admin_groups", "role_uber_admin_groups")
    @classmethod
    def _check_list(cls, text: str) -> str:
        split_names(text)
        return text

    @property
    def groups(self) -> frozenset[str]:
        """The groups whose members may use Flower."""
        written = [self.flower_groups] if self.flower_groups else [self.role_admin_groups, self.role_uber_admin_groups]
        return frozenset(name for text in written for name in split_names(text))
