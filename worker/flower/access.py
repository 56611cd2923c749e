"""Access control of Flower: limited password attempts, sessions that can be ended, and the audit log."""

from __future__ import annotations

import atexit
import base64
import time
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

import redis
import tornado.web
from tornado.httputil import HTTPServerRequest

from worker.config.audit_log import AuditLog, open_log
from worker.config.networks import client_address, network_of
from worker.config.settings import Settings, load
from worker.flower.settings import FlowerSettings
from worker.store.client import connect, short_timeout_pool
from worker.store.ended_sessions import FLOWER_LIFETIME_S, have_ended
from worker.store.sign_in_attempts import SignInAttempts

#: Flower accepts users whose cookie ends so; only this package writes such cookies.
SUFFIX = "@storage-api"
_REDIS_SCHEMES = ("redis:", "rediss:", "unix:", "sentinel:")


def session_s(settings: FlowerSettings) -> int:
    """Return the lifetime of a session (seconds); afterwards the provider is asked again, without the user noticing."""
    return min(settings.session_lifetime, settings.roles_max_age, FLOWER_LIFETIME_S)


def cookie_of(name: str, subject: str) -> str:
    """Return the cookie's value for a user who has just signed in."""
    return "&".join((quote(name, safe=""), quote(subject, safe=""), str(int(time.time())))) + SUFFIX


class FlowerAccess:
    """Checks attempts and sessions, and writes the audit log."""

    def __init__(self, settings: FlowerSettings, queue: Settings) -> None:
        self._settings = settings
        self._prefix = queue.key_prefix
        self._redis = connect(queue, connections=4)
        self._attempts = SignInAttempts(
            redis.Redis(connection_pool=short_timeout_pool(_writing_client(queue).connection_pool)),
            queue.key_prefix,
            per_network=settings.sign_in_network_limit,
            per_user=settings.sign_in_user_limit,
        )
        open_log(settings.audit_log)
        self._audit = AuditLog(settings.audit_rate)
        atexit.register(self._audit.flush)

    def check_attempt(self, request: HTTPServerRequest) -> None:
        """Reject the request, without checking the password, when too many wrong ones were sent.

        Raises:
            tornado.web.HTTPError: 429.
        """
        user, network = _user_in(request), network_of(self._address(request))
        if self._attempts.limit_reached(self._attempts.counts(user, network), user, network):
            self.note(request, "access", who=user, allowed=False, reason="rate-limited")
            raise tornado.web.HTTPError(HTTPStatus.TOO_MANY_REQUESTS, "Too many wrong passwords: wait a minute.")

    def note_password(self, request: HTTPServerRequest, *, is_right: bool) -> None:
        """Count and log whether a password was right."""
        user, network = _user_in(request), network_of(self._address(request))
        if is_right:
            self._attempts.record_success(user, network)
            self.note(request, "access", who=user, allowed=True)
        else:
            self._attempts.record_failure(user, network)
            self.note(request, "access", who=user, allowed=False, reason="unauthenticated")

    def has_ended(self, cookie: str) -> bool:
        """Were the sessions of the cookie's user ended since it was made?

        Raises:
            tornado.web.HTTPError: 503, Redis is unavailable.
        """
        name, subject, began = [*cookie.removesuffix(SUFFIX).split("&"), "", ""][:3]
        began_s = float(began) if began.isdecimal() else 0.0
        try:
            return have_ended(self._redis, self._prefix, (unquote(name), unquote(subject)), began_s)
        except redis.RedisError:
            raise tornado.web.HTTPError(HTTPStatus.SERVICE_UNAVAILABLE) from None

    def note(self, request: HTTPServerRequest, event: str, **decision: Any) -> None:
        """Write a line of the audit log."""
        method = "basic" if "Authorization" in request.headers else "session"
        about = {"method": request.method, "target": f"flower{request.path}", "address": self._address(request)}
        self._audit.write({"event": event, **about, "auth_method": method, **decision})

    def is_secure(self, request: HTTPServerRequest) -> bool:
        """Do browsers reach this service by TLS?"""
        return (self._settings.flower_url or request.protocol).startswith("https")

    def _address(self, request: HTTPServerRequest) -> str:
        forwarded_for = request.headers.get("X-Forwarded-For", "")
        networks, hops = self._settings.proxy_networks, self._settings.trusted_proxies
        return client_address(str(request.remote_ip), forwarded_for, networks, hops)


@cache
def flower_access() -> FlowerAccess:
    """Return the instance of this process, configured from the environment."""
    return FlowerAccess(load(FlowerSettings), load(Settings))


def _writing_client(queue: Settings) -> redis.Redis:
    """Return a client with the Redis user that may write (the one for events); the other one may only read."""
    if queue.broker_url and queue.broker_url.get_secret_value().startswith(_REDIS_SCHEMES):
        queue = queue.model_copy(update={"redis_url": queue.broker_url})
    return connect(queue, connections=4)


def _user_in(request: HTTPServerRequest) -> str:
    """Return the user name of HTTP Basic; empty when there is none or it is malformed."""
    _, _, credentials = request.headers.get("Authorization", "").partition(" ")
    try:
        return base64.b64decode(credentials).decode().partition(":")[0]
    except ValueError:
        return ""
