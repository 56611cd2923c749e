"""Bearer tokens: verified with the provider's keys, or by token introspection (RFC 7662)."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from cachetools import TTLCache

from api.auth.principals import Identity
from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderRefused, ProviderUnavailable, request_json
from api.auth.token_claims import identity_in, subject_in
from api.auth.tokens import InvalidToken, header_of
from worker.config.role_groups import groups_in

#: How long the introspection of a token is cached (seconds); a revoked token works for this long.
_ANSWER_TTL_S = 10.0
_GROUPS_TTL_S = 60.0
_MAX_ANSWERS = 4096
#: How many characters a token may have.
_LONGEST = 16 * 1024
#: After a failure the provider is not asked again for this long (seconds), so that not every request waits for it.
_RECOVERY_S = 2.0


class BearerAuthenticator:
    """Tokens of one provider."""

    def __init__(self, provider: IdentityProvider, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare it; ``clock``: a monotonic clock in seconds."""
        self._provider = provider
        self._settings = provider.settings
        self._audience = self._settings.oauth_audience or self._settings.oauth_client_id
        self._introspected = TokenCache(self._introspect, _ANSWER_TTL_S, clock=clock)
        self._groups = TokenCache(self._ask_groups, _GROUPS_TTL_S, clock=clock)

    def identity(self, token: str) -> Identity:
        """Return the identity of a token's owner.

        Raises:
            InvalidToken: it is unknown, not meant for this service, or expired.
            ProviderUnavailable: the provider does not answer.
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
        if len(token) > _LONGEST:
            raise InvalidToken(f"it has more than {_LONGEST} characters")
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
        """Check the provider's claims about a token."""
        now, leeway_s = time.time(), self._settings.oauth_leeway
        if answer.get("active") is not True:
            raise InvalidToken("it is not in force")
        if _number(answer, "exp", now) < now - leeway_s or _number(answer, "nbf", now) > now + leeway_s:
            raise InvalidToken("it has expired, or is not in force yet")
        # Introspection also accepts refresh tokens.
        if str(answer.get("token_type") or "bearer").lower() not in ("bearer", "access_token"):
            raise InvalidToken("it is no access token")
        if not self._is_for_us(answer):
            raise InvalidToken("it is meant for another service")
        if "iss" in answer and self._provider.issuer() not in ("", answer["iss"]):
            raise InvalidToken("it is of another issuer")

    def _is_for_us(self, answer: Mapping[str, Any]) -> bool:
        """Was the token issued for this service?

        Without an audience, a token that a user gave to another client is not accepted: it could act in their name.
        """
        audience = answer.get("aud")
        if audience is not None or self._settings.oauth_audience:
            return self._audience in (audience if isinstance(audience, list) else [audience])
        client = answer.get("client_id")
        is_ours = client in (None, self._settings.oauth_client_id)
        return is_ours or subject_in(answer, self._settings.oauth_name_claim) == client

    def _ask_groups(self, token: str) -> dict[str, Any]:
        try:
            return {"groups": list(self._provider.groups({}, token))}
        except ProviderRefused:  # Valid, but without an answer at this endpoint: machine accounts have no groups.
            return {"groups": []}


def _unbound(claims: dict[str, Any]) -> dict[str, Any]:
    """Return ``claims``, unless the token is bound to a key (RFC 8705, RFC 9449): the bearer has not shown it."""
    if "cnf" in claims:
        raise InvalidToken("it is bound to a key, which was not shown")
    return claims


def _number(answer: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = answer.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


class TokenCache:
    """Caches the provider's answers about tokens, by digest, so that no token stays in memory."""

    def __init__(
        self,
        ask: Callable[[str], dict[str, Any]],
        ttl_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: TTLCache[bytes, dict[str, Any]] = TTLCache(_MAX_ANSWERS, ttl_s, clock)
        self._failed_at = float("-inf")

    def of(self, token: str) -> dict[str, Any]:
        """Return the answer about ``token``, from the cache or from the provider.

        Raises:
            ProviderUnavailable: the provider does not answer.
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
        except ProviderRefused:  # It answers: one odd token must not keep it from being asked about others.
            raise
        except ProviderUnavailable:
            self._failed_at = self._clock()
            raise
        with self._lock:
            self._answers[key] = answer
        return answer
