"""The cookie that holds the id of a session: signed, and bound to its host if the request came by TLS."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from flask import Flask, Request, has_request_context, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from itsdangerous import SignatureExpired, TimestampSigner, URLSafeTimedSerializer

from api.auth.settings import AuthSettings

_COOKIE = "sapi_session"
#: By how much the clocks of two API processes may differ (seconds), as with tokens.
_CLOCK_SKEW_S = 60


class _SkewTolerantSigner(TimestampSigner):
    """Accepts signatures from slightly in the future: the clocks of API processes on several hosts differ."""

    def unsign(self, signed_value: str | bytes, max_age: int | None = None, return_timestamp: bool = False) -> Any:
        """As in the base class, but with a tolerance for the time."""
        value, signed_at = super().unsign(signed_value, return_timestamp=True)
        age_s = self.get_timestamp() - signed_at.timestamp()
        if age_s < -_CLOCK_SKEW_S or (max_age is not None and age_s > max_age):
            raise SignatureExpired(f"Signature age {age_s:.0f} s")
        return (value, signed_at) if return_timestamp else value


class CookieSessions(SecureCookieSessionInterface):
    """Flask's signed cookie; Secure and bound to its host if the request came by TLS."""

    def __init__(self, *, always_secure: bool) -> None:
        self._always_secure = always_secure

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """As in Flask, but without deriving keys for a request without a cookie."""
        if self.get_cookie_name(app) not in request.cookies:
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
    """Configure Flask to use these cookies."""
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
