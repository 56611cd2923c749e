"""The sign-in provider (OAuth2 or OpenID Connect): its endpoints, its tokens and its users."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from api.auth.cached_document import CachedDocument
from api.auth.provider_http import ProviderRefused, ProviderUnavailable, raise_status, request_json
from api.auth.settings import AuthSettings
from api.auth.tokens import TokenVerifier
from worker.config.role_groups import groups_in

_WELL_KNOWN = "/.well-known/openid-configuration"


class IdentityProvider:
    """The configuration of the provider, completed from its discovery document, which is fetched on first use."""

    def __init__(self, settings: AuthSettings) -> None:
        self.settings = settings
        self._discovery = CachedDocument(self._discover)
        self.verifier = TokenVerifier(
            jwks_url=self._jwks_url,
            issuer=self.issuer,
            algorithms=settings.oauth_algorithms,
            leeway_s=settings.oauth_leeway,
        )

    @property
    def has_keys(self) -> bool:
        """Does it publish keys to verify its tokens?"""
        return bool(self.settings.oauth_jwks_url or self.settings.oauth_discovery_url)

    def metadata(self) -> dict[str, Any]:
        """The provider's metadata; empty without a discovery document.

        Raises:
            ProviderUnavailable: it does not answer.
        """
        return self._discovery.get() if self.settings.oauth_discovery_url else {}

    def issuer(self) -> str:
        """The issuer of its tokens; empty when unknown."""
        return self.settings.oauth_issuer or str(self.metadata().get("issuer") or "")

    def authorize_url(self) -> str:
        """The authorization endpoint."""
        return self._endpoint("authorization_endpoint", self.settings.oauth_authorize_url)

    def token_url(self) -> str:
        """The token endpoint."""
        return self._endpoint("token_endpoint", self.settings.oauth_token_url)

    def client_auth_method(self) -> str:
        """How this service authenticates at the token endpoint."""
        if not self.settings.oauth_secret_key.get_secret_value():
            return "none"
        if not self.settings.oauth_discovery_url:
            return "client_secret_post"
        taken = self.metadata().get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return "client_secret_basic" if "client_secret_basic" in taken else "client_secret_post"

    def groups(self, claims: Mapping[str, Any], access_token: str) -> tuple[str, ...]:
        """Return the groups of a user, from ``claims`` or, where configured, from the groups URL with the user's token.

        Raises:
            ProviderUnavailable: it does not answer.
        """
        if self.settings.asks_groups_url:
            answer = self._ask_as(access_token, self.settings.oauth_groups_url)
            return groups_in(answer, "groups") or groups_in(answer, self.settings.oauth_groups_claim) or ()
        groups = groups_in(claims, self.settings.oauth_groups_claim)
        return groups if groups is not None else ()

    def userinfo(self, access_token: str) -> dict[str, Any]:
        """Return the userinfo claims of a token's owner; empty when the provider has no such endpoint.

        Raises:
            ProviderUnavailable: it does not answer.
        """
        try:
            return self.ask_userinfo(access_token)
        except ProviderRefused:  # Some providers accept a token at one endpoint only.
            return {}

    def ask_userinfo(self, access_token: str) -> dict[str, Any]:
        """Return the same, but raise when the provider refuses the token.

        Raises:
            ProviderRefused: the token has expired, or is not accepted there.
            ProviderUnavailable: it does not answer.
        """
        url = str(self.metadata().get("userinfo_endpoint") or "")
        return self._ask_as(access_token, url) if url else {}

    def exchange(self, code: str, *, redirect_uri: str, verifier: str) -> dict[str, Any]:
        """Return the tokens for an authorization code; ``verifier``: of the challenge that it was asked for with.

        Raises:
            ProviderRefused: it is unknown, or was used.
            ProviderUnavailable: the provider does not answer.
        """
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return self._tokens(form | {"code_verifier": verifier})

    def refresh(self, refresh_token: str) -> dict[str, Any]:
        """Return new tokens for a refresh token.

        Raises:
            ProviderRefused: it has expired.
            ProviderUnavailable: the provider does not answer.
        """
        return self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def _tokens(self, form: dict[str, str]) -> dict[str, Any]:
        try:
            answer = self._ask_token_endpoint(form)
        except ProviderRefused as refused:
            # A refusal says why (RFC 6749, 5.2). Without that it is the answer of a proxy that finds no provider.
            if not refused.error:
                raise ProviderUnavailable(str(refused)) from None
            raise
        if error := answer.get("error"):  # Some providers say so with status 200.
            raise_status(HTTPStatus.BAD_REQUEST, error, self.token_url())
        return answer

    def _ask_token_endpoint(self, form: dict[str, str]) -> dict[str, Any]:
        client, secret = self.settings.oauth_client_id, self.settings.oauth_secret_key.get_secret_value()
        if self.client_auth_method() == "client_secret_basic":
            return request_json("POST", self.token_url(), data=form, auth=(client, secret))
        form |= {"client_id": client} | ({"client_secret": secret} if secret else {})
        return request_json("POST", self.token_url(), data=form)

    def _ask_as(self, access_token: str, url: str) -> dict[str, Any]:
        return request_json("GET", url, headers={"Authorization": f"Bearer {access_token}"})

    def _endpoint(self, name: str, configured: str) -> str:
        if not self.settings.oauth_discovery_url:
            return configured
        url = str(self.metadata().get(name) or "")
        if not url:
            raise ProviderUnavailable(f"the discovery document has no {name}")
        return url

    def _jwks_url(self) -> str:
        return self.settings.oauth_jwks_url or self._endpoint("jwks_uri", "")

    def _discover(self) -> dict[str, Any]:
        url = self.settings.oauth_discovery_url
        document = request_json("GET", url)
        issuer = str(document.get("issuer"))
        # A document that names another issuer would make tokens of that issuer valid.
        if url.endswith(_WELL_KNOWN) and issuer.rstrip("/") != url.removesuffix(_WELL_KNOWN).rstrip("/"):
            raise ProviderUnavailable(f"the document at {urlsplit(url).hostname} names another issuer")
        return document
