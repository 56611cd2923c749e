"""What a process checks of Redis before it starts."""

from __future__ import annotations

import time
from typing import Any

import redis
import structlog

from worker.config.settings import BadSettings, Settings
from worker.store.client import REDIS_UNAVAILABLE, explain

log = structlog.get_logger(__name__)


class UnsafeRedis(RuntimeError):
    """This Redis would lose accepted jobs; the message says what to change."""


def await_redis(client: redis.Redis) -> None:
    """Wait until Redis answers; say once that it does not.

    Raises:
        BadSettings: it rejects the address.
    """
    is_reported = False
    while True:
        try:
            check_address(client)
            client.ping()
        except REDIS_UNAVAILABLE as exc:
            if not is_reported:
                log.warning("redis.unavailable", error=type(exc).__name__, detail=explain(exc), hint="waiting for it")
                is_reported = True
            time.sleep(0.5)
        else:
            return


def check_address(client: redis.Redis) -> None:
    """Check that Redis accepts the address (user, password, database); without an answer nothing is checked.

    Raises:
        BadSettings: Redis rejects them.
    """
    try:
        client.ping()
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise BadSettings(f"SAPI_REDIS_URL: {explain(error)}") from None
    except REDIS_UNAVAILABLE:
        return
    except redis.ResponseError as error:
        raise BadSettings(f"SAPI_REDIS_URL: {explain(error)}") from None


def check_redis(client: redis.Redis) -> list[str]:
    """Return which settings of this Redis may lose data; an empty list when it is safe."""
    info: dict[str, Any] = client.info("memory") | client.info("persistence")
    problems = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        problems.append(f"it evicts keys when memory is full (maxmemory-policy {policy}): set it to noeviction")
    if not info.get("aof_enabled"):
        problems.append("it forgets accepted jobs when it is killed (no append-only file): set appendonly to yes")
    return problems


def check_redis_durability(client: redis.Redis, settings: Settings) -> None:
    """Check that Redis's configuration does not lose jobs; in debug mode only warn.

    Raises:
        UnsafeRedis: it does, and this is not debug mode.
    """
    for problem in check_redis(client):
        if not settings.debug:
            raise UnsafeRedis(f"Redis is not safe for jobs: {problem}")
        log.warning("redis.unsafe", problem=problem)
