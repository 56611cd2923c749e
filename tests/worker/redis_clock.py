"""The clock of Redis."""

from __future__ import annotations

import redis


def redis_now_ms(client: redis.Redis) -> int:
    """The time on Redis's clock (Unix milliseconds)."""
    seconds, micros = client.time()
    return int(seconds * 1000 + micros // 1000)
