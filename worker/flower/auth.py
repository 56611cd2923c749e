"""Sign-in for Flower, with the same identity provider as the API; Flower is read-only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NoReturn
from urllib.parse import urlencode

import tornado.web
from flower import urls
from flower.options import options
from flower.views import BaseHandler
from flower.views.auth import OAuth2StateMixin, get_next_url
from flower.views.monitor import Metrics
from tornado.auth import AuthError
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest
from tornado.routing import URLSpec

from worker.config.role_groups import groups_in
from worker.config.settings import load
from worker.config.user_names import name_in
from worker.flower.access import SUFFIX, cookie_of, flower_access, session_s
from worker.flower.handlers import harden, keep_local
from worker.flower.settings import FlowerSettings

_PATTERN = f".*{SUFFIX}"
_PROVIDER = f"{__name__}.OpenIDLoginHandler"
_COMMAND_TIMEOUT_S = 5.0
_STATE_DAYS = 1 / 144
_NOT_LET_IN = "The sign-in provider did not let you in, or does not answer."


def guard(settings: FlowerSettings, environ: MutableMapping[str, str] = os.environ) -> None:
    """Require sign-in for Flower and disable changes, before it reads its options from ``environ``.

    In debug mode it needs no sign-in if it listens on this machine only. Otherwise users sign in by the provider or by
    HTTP Basic; where neither is configured nobody can.
    """
    close_routes()
    harden(session_s(settings))
    environ["FLOWER_READ_ONLY"] = "true"
    if settings.debug and _stays_here(sys.argv):
        keep_local()
        environ["FLOWER_ADDRESS"] = "127.0.0.1"
        return
    environ.pop("FLOWER_UNAUTHENTICATED_API", None)
    if settings.secret_key.get_secret_value():
        key = settings.secret_key.get_secret_value().encode()
        environ["FLOWER_COOKIE_SECRET"] = hmac.digest(key, b"flower", "sha256").hex()
    if settings.oauth_client_id:
        environ.update(FLOWER_AUTH=_PATTERN, FLOWER_AUTH_PROVIDER=_PROVIDER)
    elif "FLOWER_BASIC_AUTH" not in environ:
        # Not through the environment, where a comma in the password would begin another entry.
        options.basic_auth = [_basic(settings)]


def _stays_here(arguments: Sequence[str]) -> bool:
    """Does Flower listen on the loopback address only? The command line takes precedence over the environment."""
    addresses = [word.partition("=")[2] for word in arguments if word.startswith("--address")]
    return all(address in ("127.0.0.1", "localhost", "::1") for address in addresses)


def _basic(settings: FlowerSettings) -> str:
    password = settings.basic_auth_password.get_secret_value()
    if settings.basic_auth_username and password:
        return f"{settings.basic_auth_username}:{password}"
    print(  # noqa: T201 - for whoever starts it
        "flower is closed to everybody: set SAPI_OAUTH_CLIENT_ID, or SAPI_BASIC_AUTH_USERNAME and _PASSWORD",
        file=sys.stderr,
    )
    return f"nobody:{secrets.token_hex(32)}"


def _groups_in(about: Mapping[str, Any], claim: str) -> frozenset[str]:
    """The groups under ``claim``, or under ``groups`` as the groups URL has them."""
    groups = groups_in(about, claim)
    return frozenset((groups_in(about, "groups") or ()) if groups is None else groups)


class ClosedRoute(BaseHandler):
    """Replaces a route that changes something."""

    def prepare(self) -> None:
        raise tornado.web.HTTPError(403, "Flower is for looking only.")


class ClosedMetrics(Metrics):
    """Flower's metrics, for signed-in users."""

    @tornado.web.authenticated
    async def get(self) -> None:
        await super().get()


def close_routes() -> None:
    """Disable every route that changes something (Flower's read-only mode omits some), and protect the metrics."""
    guarded = []
    for route in urls.handlers:
        handler = route.handler_class if isinstance(route, URLSpec) else route[1]
        if handler.__module__.startswith("flower.api.") and "post" in vars(handler):
            guarded.append((route.regex.pattern if isinstance(route, URLSpec) else route[0], ClosedRoute))
            continue
        guarded.append((route[0], ClosedMetrics) if handler is Metrics else route)
    urls.handlers[:] = guarded


class OpenIDLoginHandler(BaseHandler, OAuth2StateMixin):
    """Signs in by any OAuth2 or OpenID provider, with state and PKCE; the members of some groups are admitted."""

    async def get(self) -> None:
        settings = load(FlowerSettings)
        if self.get_argument("code", None) is None and self.get_argument("error", None) is None:
            await self._leave(settings)
            return
        self._check_state()
        if self.get_argument("code", None) is None:
            # Not back to the provider, which may give the same answer at once, again and again.
            self._refuse(_NOT_LET_IN)
        token = await self._token(settings, self.get_argument("code", escape=False))
        about = await self._about(settings, token)
        name = name_in(about, settings.oauth_name_claim) or "unnamed"
        if not settings.groups & _groups_in(about, settings.oauth_groups_claim):
            flower_access().note(self.request, "sign-in", who=name, allowed=False, reason="missing-role")
            raise tornado.web.HTTPError(403, "You are in none of the groups that may look at Flower.")
        flower_access().note(self.request, "sign-in", who=name, allowed=True)
        cookie = cookie_of(name, str(about.get("sub") or ""))
        self.set_secure_cookie("user", cookie, session_s(settings) / 86400)
        self.redirect(get_next_url(self))

    def _check_state(self) -> None:
        try:
            self.verify_oauth_state()
        except AuthError:
            flower_access().note(self.request, "sign-in", allowed=False, reason="invalid-request")
            raise

    def _refuse(self, why: str) -> NoReturn:
        flower_access().note(self.request, "sign-in", allowed=False, reason="sign-in-unavailable")
        raise tornado.web.HTTPError(403, why)

    def set_secure_cookie(self, name: str, value: str, expires_days: float = _STATE_DAYS, **more: Any) -> None:
        """Set a cookie as Flower does, with the Secure flag where browsers use HTTPS."""
        secure = self._callback(load(FlowerSettings)).startswith("https:")
        super().set_secure_cookie(name, value, expires_days, secure=secure, **more)

    async def _leave(self, settings: FlowerSettings) -> None:
        verifier = secrets.token_urlsafe(48)
        self.set_secure_cookie("oauth_verifier", verifier)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": settings.oauth_client_id,
            "redirect_uri": self._callback(settings),
            "state": self.set_oauth_state(),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if settings.scope:
            query["scope"] = settings.scope
        url = await self._endpoint(settings, "authorization_endpoint", settings.oauth_authorize_url)
        self.redirect(f"{url}{'&' if '?' in url else '?'}{urlencode(query)}")

    async def _token(self, settings: FlowerSettings, code: str) -> str:
        verifier = (self.get_secure_cookie("oauth_verifier") or b"").decode()
        self.clear_cookie("oauth_verifier")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback(settings),
            "code_verifier": verifier,
            "client_id": settings.oauth_client_id,
            "client_secret": settings.oauth_secret_key.get_secret_value(),
        }
        url = await self._endpoint(settings, "token_endpoint", settings.oauth_token_url)
        answer = await self._ask(HTTPRequest(url, method="POST", body=urlencode(form)))
        return str(answer.get("access_token") or "")

    async def _about(self, settings: FlowerSettings, token: str) -> dict[str, Any]:
        """Return the user's claims from the provider's user info endpoint (or the groups URL)."""
        url = await self._endpoint(settings, "userinfo_endpoint", settings.oauth_groups_url)
        return await self._ask(HTTPRequest(url, headers={"Authorization": f"Bearer {token}"}))

    async def _endpoint(self, settings: FlowerSettings, name: str, configured: str) -> str:
        if not settings.oauth_discovery_url:
            return configured
        return str((await self._ask(HTTPRequest(settings.oauth_discovery_url)))[name])

    async def _ask(self, request: HTTPRequest) -> dict[str, Any]:
        request.request_timeout = request.connect_timeout = _COMMAND_TIMEOUT_S
        request.follow_redirects = False
        request.headers["Accept"] = "application/json"
        try:
            answer = json.loads((await AsyncHTTPClient().fetch(request)).body)
        except (HTTPError, OSError, ValueError):
            self._refuse(_NOT_LET_IN)
        if not isinstance(answer, dict):
            self._refuse("The sign-in provider's answer makes no sense.")
        return answer

    def _callback(self, settings: FlowerSettings) -> str:
        base = settings.flower_url or f"{self.request.protocol}://{self.request.host}"
        return f"{base.rstrip('/')}{self.request.path}"
