"""The usage of Redis's memory, cached."""

from __future__ import annotations

import time
from typing import Any

import redis

from worker.store.client import REDIS_UNAVAILABLE

_ASK_EVERY_S = 1.0


class RedisMemory:
    """The usage of Redis's memory, as of a moment ago."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._read_at = float("-inf")
        self._percent = 0.0

    def used_percent(self) -> float:
        """How much of ``maxmemory`` is used; 0 where there is no limit, or while Redis does not say."""
        if time.monotonic() - self._read_at >= _ASK_EVERY_S:
            # Other threads use the old value meanwhile.
            self._read_at = time.monotonic()
            self._percent = self._ask()
        return self._percent

    def _ask(self) -> float:
        try:
            memory: Any = self._redis.info("memory")
        except (*REDIS_UNAVAILABLE, redis.ResponseError):
            return 0.0
        limit = int(memory["maxmemory"])
        return 100 * int(memory["used_memory"]) / limit if limit else 0.0
