"""Settings of signing in, roles and sessions, read once from the environment and validated at start."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import SplitResult, urlsplit

from limits import parse_many
from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from worker.catalog.operations import Role
from worker.config.public_url import PublicUrlSettings, has_odd_segments
from worker.config.role_groups import split_names
from worker.config.settings import LONGEST_S
from worker.config.sign_in_settings import Names, SignInSettings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: Asymmetric signature algorithms: with others, whoever can verify a token could also issue one.
_ASYMMETRIC = frozenset(
    "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519".split()  # noqa: SIM905 - reads better
)
#: 128 bits at the very best.
_SHORTEST_KEY = 16
_MAKE_A_KEY = "python3 -c 'import secrets; print(secrets.token_hex(32))'"


def _split(value: object) -> object:
    return split_names(value) if isinstance(value, str) else value


def _split_secret(value: object) -> object:
    return tuple(SecretStr(key) for key in value.replace(",", " ").split()) if isinstance(value, str) else value


def _http_url(text: str) -> SplitResult | None:
    """Return the parts of a URL, which are empty where there is none; None for what is no http(s) URL."""
    try:
        url = urlsplit(text)
        is_possible = not text or (url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0)
    except ValueError:
        return None
    return url if is_possible else None


def _is_rate(text: str) -> bool:
    try:
        return all(rate.amount > 0 for rate in parse_many(text))
    except ValueError:
        return False


Roles = Annotated[tuple[Role, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_secret)]


class AuthSettings(PublicUrlSettings, SignInSettings):
    """Who may do what: ``SAPI_<NAME>``; a secret may also be in a file that ``SAPI_<NAME>_FILE`` names."""

    model_config = SettingsConfigDict(populate_by_name=True)

    oauth_callback_url_relative: str = Field(
        "/oauth-done", pattern=r"^/[A-Za-z0-9._~/-]+$", description="Path to which the provider sends browsers back"
    )
    oauth_issuer: str = Field("", description="Issuer that tokens must name (default: as discovered)")
    oauth_jwks_url: str = Field("", description="The provider's public keys (default: as discovered)")
    oauth_audience: str = Field("", description="Audience that bearer tokens must name (default: the client ID)")
    oauth_public_client_id: str = Field(
        "",
        description="Client ID at the provider with which the command line signs its users in; a public client, with "
        "the device flow or loopback redirects (none: it must be given to `storage-api login`)",
    )
    oauth_algorithms: Names = Field(
        ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
        description="Signature algorithms of tokens that are accepted",
    )
    oauth_leeway: int = Field(
        60, ge=0, le=300, description="Seconds by which the provider's clock may differ from ours"
    )
    oauth_introspection_url: str = Field("", description="Where opaque bearer tokens are checked (RFC 7662)")

    debug: bool = Field(
        False,
        validation_alias=AliasChoices("SAPI_DEBUG", "FLASK_DEBUG"),
        description="Development mode: /login gives loopback clients every role without asking who they are",
    )

    secret_key: SecretStr = Field(SecretStr(""), description="Signs session cookies; the same in every API process")
    secret_key_fallbacks: Secrets = Field(
        (), description="Earlier secret keys, comma-separated: their cookies still hold"
    )
    session_lifetime: int = Field(
        8 * 3600, ge=60, le=LONGEST_S, description="Seconds after which one must sign in again"
    )
    session_secure: bool = Field(
        False, description="Mark the session cookie Secure even where a request seems to come without TLS"
    )

    role_user_groups: Names = Field(
        (), description="Groups whose members are USER (none: everybody is, also strangers)"
    )
    role_admin_groups: Names = Field((), description="Groups whose members are ADMIN (none: nobody is)")
    role_uber_admin_groups: Names = Field((), description="Groups whose members are UBER_ADMIN (none: nobody is)")

    basic_auth_username: str = Field(
        "", description="User of HTTP Basic; it is off unless a password is set too (also as `BASIC_AUTH_USERNAME`)"
    )
    basic_auth_password: SecretStr = Field(
        SecretStr(""), description="Password of that user (also as `BASIC_AUTH_PASSWORD`)"
    )
    basic_auth_roles: Roles = Field(
        (Role.USER, Role.ADMIN, Role.UBER_ADMIN), description="Roles of that user, as far as these roles exist"
    )

    rate_limit: str = Field("30000/minute", description="Changes that one user may ask for ('off': any number)")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for error in (*self._key_errors(), *self._provider_errors(), *self._other_errors()):
            raise ValueError(error)
        return self

    def _key_errors(self) -> list[str]:
        length = len(self.secret_key.get_secret_value())
        if not length and not self.debug:
            return [f"SAPI_SECRET_KEY must be set outside debug mode; make one with: {_MAKE_A_KEY}"]
        if length and length < _SHORTEST_KEY:
            return [f"SAPI_SECRET_KEY is too short to keep a secret; make one with: {_MAKE_A_KEY}"]
        if any(len(old.get_secret_value()) < _SHORTEST_KEY for old in self.secret_key_fallbacks):
            divided = "commas and blanks divide keys, and one that has them cannot be a fallback"
            return [f"SAPI_SECRET_KEY_FALLBACKS has a key that is too short to have been one: {divided}"]
        return []

    def _provider_errors(self) -> list[str]:
        errors = []
        for name in sorted(
            name for name in type(self).model_fields if name.startswith("oauth_") and name.endswith("_url")
        ):
            url = _http_url(getattr(self, name))
            if url is None:
                errors.append(f"SAPI_{name.upper()} must be an http(s) URL")
            elif url.scheme == "http" and not self.debug and url.hostname not in _LOOPBACK:
                errors.append(f"SAPI_{name.upper()} must be an https URL: tokens travel to it")
        if unfit := [name for name in self.oauth_algorithms if name not in _ASYMMETRIC]:
            errors.append(f"SAPI_OAUTH_ALGORITHMS: {', '.join(unfit)}: not one of {', '.join(sorted(_ASYMMETRIC))}")
        if self.oauth_jwks_url and not (self.oauth_issuer or self.oauth_discovery_url):
            errors.append("SAPI_OAUTH_ISSUER must be set where SAPI_OAUTH_JWKS_URL is: tokens of others have keys too")
        return errors

    def _other_errors(self) -> list[str]:
        errors = []
        if self.limits_submits and not _is_rate(self.rate_limit):
            errors.append("SAPI_RATE_LIMIT must be like 600/minute, or off")
        if has_odd_segments(self.oauth_callback_url_relative):
            errors.append("SAPI_OAUTH_CALLBACK_URL_RELATIVE must have no empty segments, and none of dots")
        if ":" in self.basic_auth_username:
            errors.append("SAPI_BASIC_AUTH_USERNAME must have no colon: HTTP Basic has one before the password")
        return errors

    @property
    def limits_submits(self) -> bool:
        """Is there a limit on the changes of one user?"""
        return self.rate_limit.strip().lower() not in ("", "off", "0")

    @property
    def has_basic(self) -> bool:
        """Is HTTP Basic configured?"""
        return bool(self.basic_auth_username and self.basic_auth_password.get_secret_value())

    @property
    def has_provider(self) -> bool:
        """Is a sign-in provider configured?"""
        return bool(self.oauth_client_id)

    @property
    def asks_groups_url(self) -> bool:
        """Are a user's groups read from the groups URL (rather than from a claim)?

        The default groups URL accepts only tokens of its own provider.
        """
        is_default_provider = not self.oauth_discovery_url and "oauth_token_url" not in self.model_fields_set
        return "oauth_groups_url" in self.model_fields_set or is_default_provider

    @property
    def groups_of(self) -> dict[Role, tuple[str, ...]]:
        """The groups that have each role."""
        return {
            Role.USER: self.role_user_groups,
            Role.ADMIN: self.role_admin_groups,
            Role.UBER_ADMIN: self.role_uber_admin_groups,
        }
