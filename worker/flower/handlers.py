"""What all of Flower's pages have in common: sessions with a lifetime, and errors without details."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import tornado.web
from flower.api import BaseApiHandler
from flower.views import BaseHandler
from tornado.auth import AuthError

from worker.flower.access import flower_access
from worker.store.sign_in_attempts import WINDOW_S

_DAY_S = 86400
#: Strict-Transport-Security: a year, as for the API.
_HSTS = "max-age=31536000"
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")

_base_cookie = BaseHandler.get_secure_cookie
_base_user = BaseHandler.get_current_user
_base_error = BaseHandler.write_error


def keep_local() -> None:
    """Reject requests whose Host is not a name of this machine.

    Another site can point its own name here (DNS rebinding), to read pages through a browser on this machine.
    """
    for pages in (BaseHandler, BaseApiHandler):
        pages.prepare = _only_locally(pages.prepare)


def _only_locally(prepare: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(self: Any) -> Any:
        if urlsplit(f"//{self.request.host}").hostname not in _LOCAL_NAMES:
            raise tornado.web.HTTPError(403, "Flower is open to this machine only, by a name like localhost.")
        return prepare(self)

    return checked


def harden(lifetime_s: int) -> None:
    """Apply this module's rules to all of Flower's pages.

    Args:
        lifetime_s: age in seconds from which a cookie is not accepted any more.
    """

    def get_secure_cookie(self: Any, name: str, value: str | None = None, **_: Any) -> bytes | None:
        cookie: bytes | None = _base_cookie(self, name, value, max_age_days=lifetime_s / _DAY_S)
        return cookie

    BaseHandler.get_secure_cookie = get_secure_cookie
    BaseHandler.get_current_user = _current_user
    BaseHandler.write_error = _write_error
    BaseHandler.set_default_headers = _set_default_headers


def _set_default_headers(self: Any) -> None:
    """Set headers without Flower's permission for all origins to read its API."""
    self.set_header("X-Content-Type-Options", "nosniff")
    self.set_header("X-Frame-Options", "DENY")
    self.set_header("Referrer-Policy", "same-origin")
    if self.application.options.basic_auth or self.application.options.auth:
        self.set_header("Cache-Control", "no-store")
        if flower_access().is_secure(self.request):
            self.set_header("Strict-Transport-Security", _HSTS)


def _current_user(self: Any) -> Any:
    options = self.application.options
    if options.basic_auth and self.request.headers.get("Authorization"):
        return _by_password(self)
    user = _base_user(self)
    return None if options.auth and user and flower_access().has_ended(user) else user


def _by_password(self: Any) -> Any:
    access = flower_access()
    access.check_attempt(self.request)
    try:
        user = _base_user(self)
    except (TypeError, tornado.web.HTTPError):  # Flower's comparison of passwords supports ASCII only.
        access.note_password(self.request, is_right=False)
        raise tornado.web.HTTPError(401) from None
    access.note_password(self.request, is_right=True)
    return user


def _write_error(self: Any, status_code: int, **more: Any) -> None:
    """Answer as Flower does, except for internal errors, for which it shows a stack trace and versions."""
    if status_code == HTTPStatus.TOO_MANY_REQUESTS:
        self.set_header("Retry-After", str(WINDOW_S))
    _, error, _ = more.get("exc_info", (None, None, None))
    # A sign-in that was not begun in this browser is the client's error; Flower answers 403.
    if status_code < 500 or isinstance(error, AuthError):  # noqa: PLR2004 - the server's own
        _base_error(self, status_code, **more)
        return
    self.set_status(status_code)
    self.set_header("Content-Type", "text/plain; charset=utf-8")
    self.finish("Flower could not show this page. Its log says why.")
