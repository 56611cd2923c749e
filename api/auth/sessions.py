"""Sessions: a signed cookie holds only a random id; the session itself is in Redis, where signing out deletes it."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import redis
from flask import Flask, Request, has_request_context, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import SignatureExpired, TimestampSigner, URLSafeTimedSerializer

from api.auth.principals import Identity
from api.auth.settings import AuthSettings
from worker.store.client import REDIS_UNAVAILABLE

_ID = "id"
_COOKIE = "sapi_session"
#: How long the provider may take to send a browser back.
SIGN_IN_LIMIT_S = 600
#: By how much the clocks of two API processes may differ (seconds), as with tokens.
_CLOCK_SKEW_S = 60


class SessionStoreUnavailable(Exception):
    """Redis cannot be asked who a session belongs to."""


@dataclass(frozen=True, slots=True)
class Session:
    """What is kept of a sign-in."""

    identity: Identity
    #: Made in debug mode: it holds every role, for loopback clients and while that mode lasts.
    debug: bool = False
    #: Made by HTTP Basic.
    basic: bool = False


class Sessions:
    """The sessions of all API processes."""

    def __init__(self, client: redis.Redis, prefix: str, lifetime_s: int) -> None:
        self._redis = client
        self._prefix = prefix
        self._lifetime_s = lifetime_s

    def begin(self, kept: Session) -> None:
        """Sign this browser in, under a new id: one that somebody else may have planted is worth nothing.

        Raises:
            StoreAway: Redis is away.
        """
        self.end()
        new = secrets.token_urlsafe(32)
        try:
            self._redis.set(self._key(new), json.dumps(asdict(kept)), ex=self._lifetime_s)
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc
        session[_ID] = new
        session.permanent = True

    def current(self) -> Session | None:
        """Who this request's cookie belongs to, if anybody.

        Raises:
            StoreAway: Redis is away.
        """
        session_id = session.get(_ID)
        if not isinstance(session_id, str):
            return None
        try:
            kept = self._redis.get(self._key(session_id))
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc
        return _parse(kept) if isinstance(kept, bytes | str) else None

    def current_key(self) -> str:
        """The key under which this request's session is kept: while it is there, so is the session."""
        session_id = session.get(_ID)
        return self._key(session_id) if isinstance(session_id, str) else ""

    def end(self) -> None:
        """End this browser's session on every replica; a copy of its cookie is worth nothing from now on.

        Raises:
            StoreAway: Redis is away; the session has not ended.
        """
        session_id = session.get(_ID)
        try:
            if isinstance(session_id, str):
                self._redis.delete(self._key(session_id))
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc
        session.clear()

    def use_once(self, what: str) -> bool:
        """Is this the first time, within the limit of a sign-in, that ``what`` is used?

        Raises:
            StoreAway: Redis is away.
        """
        key = f"{self._prefix}used_state:{_digest(what)}"
        try:
            return bool(self._redis.set(key, "1", nx=True, ex=2 * SIGN_IN_LIMIT_S))
        except REDIS_UNAVAILABLE as exc:
            raise SessionStoreUnavailable from exc

    def _key(self, session_id: str) -> str:
        # Whoever can read Redis must not be able to make a cookie of what is there.
        return f"{self._prefix}session:{_digest(session_id)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _parse(text: bytes | str) -> Session:
    kept: dict[str, Any] = json.loads(text)
    identity = kept["identity"]
    return Session(
        identity=Identity(identity["name"], identity["subject"], tuple(identity["groups"]), identity.get("issuer", "")),
        debug=kept["debug"],
        basic=kept["basic"],
    )


class _SkewTolerantSigner(TimestampSigner):
    """Takes a signature whose time lies a little ahead: the clocks of API processes on several hosts differ."""

    def unsign(self, signed_value: str | bytes, max_age: int | None = None, return_timestamp: bool = False) -> Any:
        """As the base class, but for the time that may lie ahead."""
        value, signed_at = super().unsign(signed_value, return_timestamp=True)
        age_s = self.get_timestamp() - signed_at.timestamp()
        if age_s < -_CLOCK_SKEW_S or (max_age is not None and age_s > max_age):
            raise SignatureExpired(f"Signature age {age_s:.0f} s", payload=value, date_signed=signed_at)
        return (value, signed_at) if return_timestamp else value


class CookieSessions(SecureCookieSessionInterface):
    """Flask's signed cookie, which is Secure, and bound to its host, wherever the request came by TLS."""

    def __init__(self, *, always_secure: bool) -> None:
        self._always_secure = always_secure

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """As Flask's; a request without a cookie, as scripts send it, needs no key to read one with."""
        if app.secret_key and self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        serializer = super().get_signing_serializer(app)
        if serializer is not None:
            serializer.signer = _SkewTolerantSigner
        return serializer

    def get_cookie_name(self, app: Flask) -> str:
        return f"__Host-{_COOKIE}" if self.get_cookie_secure(app) else _COOKIE

    def get_cookie_secure(self, app: Flask) -> bool:
        return self._always_secure or (has_request_context() and request.is_secure)


def configure_cookies(app: Flask, settings: AuthSettings) -> None:
    """Make Flask's session what this module promises."""
    key = settings.secret_key.get_secret_value() or secrets.token_hex(32)
    app.config.update(
        SECRET_KEY=key,
        SECRET_KEY_FALLBACKS=[old.get_secret_value() for old in settings.secret_key_fallbacks],
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=settings.session_lifetime),
    )
    app.session_interface = CookieSessions(always_secure=settings.session_secure)
