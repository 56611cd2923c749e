"""How many changes one user may ask for: counted in Redis, or in each process alone while that is away."""

from __future__ import annotations

import time

import redis
from flask import Flask, Response, g, request
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import FixedWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.auth.access import principal, refuse
from api.auth.origins import SAFE_METHODS
from worker.redis_access import RedisAway

_PATHS = "/v4/"
#: Counting must never delay a request by more: the answer that matters comes from elsewhere.
_ANSWER_LIMIT_S = 0.15
#: A Redis that was away is left alone for so long.
_RECOVERY_S = 5.0


class ChangeLimit:
    """Counts the changes that each user asks for."""

    def __init__(self, shared: Storage, rates: list[RateLimitItem]) -> None:
        self._shared = FixedWindowRateLimiter(shared)
        self._alone = FixedWindowRateLimiter(MemoryStorage())
        self._rates = rates
        self._away_until = float("-inf")

    def check(self) -> None:
        """Count this request, if it is a change, against who asks.

        Raises:
            Problem: 429, when there were too many; and as ``principal``.
        """
        if request.endpoint is None or request.method in SAFE_METHODS or not request.path.startswith(_PATHS):
            return
        who = principal()
        key = f"user:{who.name}" if who.signed_in else f"address:{request.remote_addr}"
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
                refuse("rate-limited", detail, headers={"Retry-After": str(left_s)})

    def _count(self, rate: RateLimitItem, key: str) -> tuple[bool, int, float]:
        if time.monotonic() >= self._away_until:
            try:
                return _count_by(self._shared, rate, key)
            except RedisAway:
                self._away_until = time.monotonic() + _RECOVERY_S
        return _count_by(self._alone, rate, key)


def _count_by(limiter: FixedWindowRateLimiter, rate: RateLimitItem, key: str) -> tuple[bool, int, float]:
    allowed = limiter.hit(rate, key)
    window = limiter.get_window_stats(rate, key)
    return allowed, window.remaining, window.reset_time


def init_app(app: Flask, rates: str, client: redis.Redis, prefix: str) -> None:
    """Limit the changes that ``app`` takes from one user; connects to nothing yet."""
    pool = _hasty(client.connection_pool)
    storage = RedisStorage("redis://", connection_pool=pool, key_prefix=f"{prefix}limit")
    limit = ChangeLimit(storage, parse_many(rates))
    app.before_request(limit.check)
    app.after_request(_tell)


def _hasty(pool: redis.ConnectionPool) -> redis.ConnectionPool:
    """Connections to the same place, with less patience."""
    changed = {
        "socket_timeout": _ANSWER_LIMIT_S,
        "socket_connect_timeout": _ANSWER_LIMIT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    return redis.ConnectionPool(connection_class=pool.connection_class, **(pool.connection_kwargs | changed))


def _tell(response: Response) -> Response:
    response.headers.update(g.get("rate_limit_headers", {}))
    return response
