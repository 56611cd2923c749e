"""Verifies JSON Web Tokens of the provider: signature, algorithm, audience and times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from api.auth.cached_document import CachedDocument
from api.auth.provider_http import request_json

#: How many bytes the header of a token may have: some providers put their certificates there.
_LONGEST_HEADER = 8 * 1024
_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
_ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash", "events")
#: Keycloak's values of ``typ`` for tokens that are not access tokens.
_OTHER_KINDS = ("ID", "Refresh", "Offline", "Logout")


class InvalidToken(Exception):
    """The token is not valid; the message says why, without quoting it."""


class TokenVerifier:
    """Checks tokens against the provider's published keys."""

    def __init__(
        self, *, jwks_url: Callable[[], str], issuer: Callable[[], str], algorithms: tuple[str, ...], leeway_s: int
    ) -> None:
        self._issuer = issuer
        # Parameters that the library does not know are ignored (RFC 7515, 4), unless "crit" names them.
        self._registry = JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
        self._registry.max_header_length = _LONGEST_HEADER
        self._leeway_s = leeway_s
        self._jwks = CachedDocument(lambda: request_json("GET", jwks_url()))

    def claims(self, token: str, *, audience: str) -> dict[str, Any]:
        """Return the claims of a valid token.

        Raises:
            InvalidToken: it is not valid.
            ProviderUnavailable: the provider's keys cannot be fetched.
        """
        header = header_of(token)
        if header is None:
            raise InvalidToken("it is no JWT")
        if str(header.get("typ") or "").lower() not in _TYPES:
            raise InvalidToken("it is a JWT for another purpose")
        claims = self._verified(token, header.get("kid"))
        self._check(claims, audience)
        return claims

    def access_claims(self, token: str, *, audience: str) -> dict[str, Any]:
        """Return the claims of a valid access token; other tokens of the provider, such as ID tokens, are refused.

        Raises:
            InvalidToken: it is not a valid access token.
            ProviderUnavailable: the provider's keys cannot be fetched.
        """
        claims = self.claims(token, audience=audience)
        kind = str((header_of(token) or {}).get("typ")).lower().removeprefix("application/")
        # Where neither says that it is an access token, an ID token is recognised by claims that only ID tokens have.
        is_access_token = kind == "at+jwt" or str(claims.get("typ")).lower() == "bearer"
        if claims.get("typ") in _OTHER_KINDS or (
            not is_access_token and any(name in claims for name in _ID_TOKEN_CLAIMS)
        ):
            raise InvalidToken("it is no access token")
        return claims

    def _verified(self, token: str, kid: object) -> dict[str, Any]:
        """Return the claims of a token signed with one of the provider's keys; refetch the keys when none fits."""
        claims = self._signed_by(token, self._known_keys(kid))
        if claims is None and (kid is None or not self._known_keys(kid)):
            self._jwks.renew()
            claims = self._signed_by(token, self._known_keys(kid))
        if claims is None:
            raise InvalidToken("no key and algorithm of the provider fits its signature")
        return claims

    def _known_keys(self, kid: object) -> list[Key]:
        # Only public keys: with a shared secret, whoever can verify a token could make one. The library refuses keys
        # that are not meant for signatures ("use").
        published = self._jwks.get().get("keys")
        usable = [
            key
            for key in (published if isinstance(published, list) else [])
            if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP")
        ]
        imported = [_import(key) for key in usable if kid is None or key.get("kid") == kid]
        return [key for key in imported if key is not None]

    def _signed_by(self, token: str, keys: list[Key]) -> dict[str, Any] | None:
        for key in keys:
            try:
                return dict(jwt.decode(token, key, registry=self._registry).claims)
            except (JoseError, ValueError, TypeError, RecursionError):
                continue
        return None

    def _check(self, claims: dict[str, Any], audience: str) -> None:
        registry = jwt.JWTClaimsRegistry(
            leeway=self._leeway_s,
            iss={"essential": True, "value": self._issuer()},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )
        try:
            registry.validate(claims)
        except JoseError as exc:
            raise InvalidToken(_reason(exc)) from None


def header_of(token: str) -> dict[str, Any] | None:
    """Return the header of a JWT, not verified; None when ``token`` is no JWT."""
    if token.count(".") != 2:  # noqa: PLR2004 - header, claims, signature
        return None
    try:
        header = orjson.loads(urlsafe_b64decode(token.partition(".")[0].encode("ascii")))
    except ValueError:
        return None
    return header if isinstance(header, dict) and isinstance(header.get("alg"), str) else None


def _import(key: dict[str, Any]) -> Key | None:
    """Return a published key; None for one that cannot be read, beside which others may be good."""
    public = {name: value for name, value in key.items() if name != "d"}
    try:
        return KeySet.import_key_set({"keys": [public]}).keys[0]
    except (JoseError, ValueError, KeyError, TypeError):
        return None


def _reason(error: JoseError) -> str:
    """Return what is wrong with the claims, without quoting them."""
    name = type(error).__name__
    if name == "ExpiredTokenError":
        return "it has expired"
    if name == "MissingClaimError":
        return "it lacks one of the claims iss, aud and exp"
    reasons = {
        "iss": "it is of another issuer",
        "aud": "it is meant for another service",
        "nbf": "it is not in force yet",
    }
    return reasons.get(getattr(error, "claim", ""), "one of its claims is no good")
