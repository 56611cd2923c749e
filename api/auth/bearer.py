"""Bearer tokens: whose they are, checked against the provider's keys, or by asking the provider (RFC 7662)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from cachetools import TTLCache

from api.auth.claims import identity_in
from api.auth.principals import Identity
from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderRefused, ProviderUnavailable, request_json
from api.auth.tokens import InvalidToken, header_of
from worker.config.groups import groups_in

#: How long an answer about one token is believed: a token that is revoked works for so long.
_ANSWER_KEPT_S = 10.0
_GROUPS_KEPT_S = 60.0
_MOST_KEPT = 4096
#: A provider that did not answer is left alone for so long, so that not every request waits for it.
_RECOVERY_S = 2.0


class BearerAuthenticator:
    """Tokens of one provider."""

    def __init__(self, provider: IdentityProvider) -> None:
        self._provider = provider
        self._settings = provider.settings
        self._audience = self._settings.oauth_audience or self._settings.oauth_client_id
        self._introspected = TokenCache(self._introspect, _ANSWER_KEPT_S)
        self._groups = TokenCache(self._ask_groups, _GROUPS_KEPT_S)

    def identity(self, token: str) -> Identity:
        """Whose token it is.

        Raises:
            BadToken: nobody's, or not meant for this service, or no longer in force.
            ProviderAway: the provider cannot be asked.
        """
        claims = self._claims(token)
        groups = groups_in(claims, self._settings.oauth_groups_claim)
        if groups is None:
            groups = tuple(self._groups.of(token)["groups"])
        identity = identity_in(
            claims, name_claim=self._settings.oauth_name_claim, groups=groups, issuer=self._provider.issuer()
        )
        if not identity.name:
            raise InvalidToken("it names nobody")
        return identity

    def _claims(self, token: str) -> dict[str, Any]:
        if self._provider.has_keys and header_of(token) is not None:
            return _unbound(self._provider.verifier.access_claims(token, audience=self._audience))
        if not self._settings.oauth_introspection_url:
            raise InvalidToken("it is no JWT of the provider")
        claims = self._introspected.of(token)
        self._check(claims)
        return _unbound(claims)

    def _introspect(self, token: str) -> dict[str, Any]:
        return request_json(
            "POST",
            self._settings.oauth_introspection_url,
            data={"token": token, "token_type_hint": "access_token"},
            auth=(self._settings.oauth_client_id, self._settings.oauth_secret_key.get_secret_value()),
        )

    def _check(self, answer: Mapping[str, Any]) -> None:
        """Is what the provider says about a token good enough?"""
        now, leeway_s = time.time(), self._settings.oauth_leeway
        if answer.get("active") is not True:
            raise InvalidToken("it is not in force")
        if _number(answer, "exp", now) < now - leeway_s or _number(answer, "nbf", now) > now + leeway_s:
            raise InvalidToken("it has expired, or is not in force yet")
        # A provider also knows its refresh tokens.
        if str(answer.get("token_type") or "bearer").lower() not in ("bearer", "access_token"):
            raise InvalidToken("it is no access token")
        if not self._is_for_us(answer):
            raise InvalidToken("it is meant for another service")
        if "iss" in answer and self._provider.issuer() not in ("", answer["iss"]):
            raise InvalidToken("it is of another issuer")

    def _is_for_us(self, answer: Mapping[str, Any]) -> bool:
        """Was the token issued for this service?

        Where no audience is told, one that a user gave to another client is not: that client could act in their name.
        """
        audience = answer.get("aud")
        if audience is not None or self._settings.oauth_audience:
            return self._audience in (audience if isinstance(audience, list) else [audience])
        client = answer.get("client_id")
        return client in (None, self._settings.oauth_client_id) or answer.get("sub", client) == client

    def _ask_groups(self, token: str) -> dict[str, Any]:
        if not self._settings.asks_groups_url:
            return {"groups": []}
        try:
            return {"groups": list(self._provider.groups({}, token))}
        except ProviderRefused:  # The token is good, but tells this place nothing: machines are in no groups.
            return {"groups": []}


def _unbound(claims: dict[str, Any]) -> dict[str, Any]:
    """``claims``, unless the token is bound to a key (RFC 8705, RFC 9449): whoever sends it bare has stolen it."""
    if "cnf" in claims:
        raise InvalidToken("it is bound to a key, which was not shown")
    return claims


def _number(answer: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = answer.get(name, otherwise)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


class TokenCache:
    """What the provider said about tokens, for a while; kept by digest, so that no token stays in memory here."""

    def __init__(
        self,
        ask: Callable[[str], dict[str, Any]],
        kept_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: TTLCache[bytes, dict[str, Any]] = TTLCache(_MOST_KEPT, kept_s, clock)
        self._failed_at = float("-inf")

    def of(self, token: str) -> dict[str, Any]:
        """The answer about ``token``.

        Raises:
            ProviderAway: there is none.
        """
        key = hashlib.sha256(token.encode()).digest()
        with self._lock:
            answer = self._answers.get(key)
        if answer is not None:
            return answer
        if self._clock() - self._failed_at < _RECOVERY_S:
            raise ProviderUnavailable("the provider did not answer just now")
        return self._ask_anew(key, token)

    def _ask_anew(self, key: bytes, token: str) -> dict[str, Any]:
        try:
            answer = self._ask(token)
        except ProviderUnavailable:
            self._failed_at = self._clock()
            raise
        with self._lock:
            self._answers[key] = answer
        return answer
