"""Limits how many changes one user may request: counted in Redis, or in each process while Redis is unavailable."""

from __future__ import annotations

import threading
import time

import redis
from cachetools import TLRUCache
from flask import Flask, Response, g, request
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, RedisStorage, Storage

from api.auth.access import principal
from api.auth.refusals import refuse
from api.http.methods import SAFE_METHODS
from worker.config.networks import network_of

_PATHS = ("/v3/", "/v4/")
#: Seconds after a failure during which Redis is not used.
_RECOVERY_S = 5.0
#: How many ends of windows are cached.
_MOST_WINDOWS = 10_000


class RateLimiter:
    """Counts the changes that each user requests."""

    def __init__(self, shared: Storage, rates: list[RateLimitItem]) -> None:
        self._shared = shared
        self._alone = MemoryStorage()
        # Each is known until then.
        self._resets: TLRUCache[tuple[int, str], float] = TLRUCache(
            _MOST_WINDOWS, ttu=lambda _window, reset_at, _now: reset_at, timer=time.time
        )
        self._lock = threading.Lock()
        self._rates = rates
        self._away_until = float("-inf")

    def check(self) -> None:
        """Count this request for its user, if it is a change.

        Raises:
            Problem: 429, when there were too many; and as ``principal``.
        """
        if request.endpoint is None or request.method in SAFE_METHODS or not request.path.startswith(_PATHS):
            return
        who = principal()
        key = f"user:{who.owner}" if who.signed_in else f"network:{network_of(request.remote_addr)}"
        for rate in self._rates:
            allowed, remaining, reset_at = self._count(rate, key)
            left_s = max(1, int(reset_at - time.time() + 1))
            g.rate_limit_headers = {
                "X-RateLimit-Limit": str(rate.amount),
                "X-RateLimit-Remaining": str(remaining),
                "X-RateLimit-Reset": str(left_s),
            }
            if not allowed:
                detail = f"You may ask for {rate.amount} changes in {rate.get_expiry()} s, and you did."
                refuse("rate-limited", detail, headers={"Retry-After": str(left_s)}, limit="SAPI_RATE_LIMIT")

    def _count(self, rate: RateLimitItem, key: str) -> tuple[bool, int, float]:
        if time.monotonic() >= self._away_until:
            try:
                return self._count_in(self._shared, rate, key)
            except redis.RedisError:
                self._away_until = time.monotonic() + _RECOVERY_S
        return self._count_in(self._alone, rate, key)

    def _count_in(self, storage: Storage, rate: RateLimitItem, key: str) -> tuple[bool, int, float]:
        """Count in a fixed window, whose end is read once for each window, not for each change."""
        name = rate.key_for(key)
        count = storage.incr(name, rate.get_expiry())
        return count <= rate.amount, max(0, rate.amount - count), self._reset_at(storage, name)

    def _reset_at(self, storage: Storage, name: str) -> float:
        key = (id(storage), name)
        with self._lock:
            reset_at = self._resets.get(key)
        if reset_at is None:
            reset_at = storage.get_expiry(name)
            with self._lock:
                self._resets[key] = reset_at
        return reset_at


def init_app(app: Flask, rates: str, pool: redis.ConnectionPool, prefix: str) -> None:
    """Limit the changes that ``app`` accepts from one user; opens no connection yet."""
    storage = RedisStorage("redis://", connection_pool=pool, key_prefix=f"{prefix}limit")
    limit = RateLimiter(storage, parse_many(rates))
    app.before_request(limit.check)
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    response.headers.update(g.get("rate_limit_headers", {}))
    return response
