"""Connections to Redis that answer or fail in bounded time and never send a write twice, and the scripts that run
there.
"""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.settings import Settings

#: Two tries to connect and one answer must fit into the second within which a request says that Redis is away.
ANSWER_LIMIT_S = 0.7
#: Errors that mean that Redis is away (or frozen, loading, read-only or full): nothing was accepted.
RedisAway = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ReadOnlyError, redis.OutOfMemoryError)

__all__ = [
    "ANSWER_LIMIT_S",
    "RedisAway",
    "RefusesWrites",
    "Scripts",
    "UnsafeRedis",
    "check_redis",
    "connect",
    "job_id_secret",
]


class RefusesWrites(redis.ConnectionError):
    """Redis answers, and takes no writes at present; nothing was accepted."""


class UnsafeRedis(RuntimeError):
    """This Redis would lose accepted jobs; the message says what to change."""


#: Words with which Redis refuses a write for its own state (a full disk, too few replicas, a script that does not end).
_REFUSALS = ("MISCONF", "NOREPLICAS", "MASTERDOWN", "BUSY ", "CLUSTERDOWN", "TRYAGAIN")


class _Client(redis.Redis):
    """A client to which a Redis that refuses writes for its own state is away."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        try:
            return super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as exc:
            if str(exc).startswith(_REFUSALS):
                raise RefusesWrites(str(exc)) from None
            raise


def connect(settings: Settings, *, answer_limit_s: float = ANSWER_LIMIT_S, connections: int = 600) -> redis.Redis:
    """Return a client that is safe for writes: no retry, since a write whose answer was lost may have been done."""
    return _Client.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=answer_limit_s,
        socket_connect_timeout=answer_limit_s,
        socket_keepalive=True,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 0),
        max_connections=connections,
        protocol=2,
    )


def check_redis(client: redis.Redis) -> list[str]:
    """Return what in this Redis's configuration breaks the promises; an empty list when it is safe."""
    info: dict[str, Any] = client.info("memory") | client.info("persistence")
    problems = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        problems.append(f"it evicts keys when memory is full (maxmemory-policy {policy}): set it to noeviction")
    if not info.get("aof_enabled"):
        problems.append("it forgets accepted jobs when it is killed (no append-only file): set appendonly to yes")
    return problems


def job_id_secret(client: redis.Redis, prefix: str) -> bytes:
    """Return the secret under which job ids are marked; made once, by whoever comes first."""
    key = f"{prefix}id-secret"
    if client.get(key) is None:  # Redis refuses every SET when it is full, also one that would change nothing.
        client.set(key, secrets.token_hex(32), nx=True)
    secret = client.get(key)
    assert isinstance(secret, bytes)  # noqa: S101 - just set, and nothing deletes it
    return secret


class Script(Protocol):
    def __call__(self, *arguments: str | float | bytes) -> Any: ...


class Scripts:
    """The Lua scripts beside this module, each callable by its name: one atomic step on the server's clock."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._registered = {name: client.register_script(_source(name)) for name in _names()}

    def __getattr__(self, name: str) -> Script:
        script = self._registered[name]

        def call(*arguments: str | float | bytes) -> Any:
            return script(keys=[self._prefix], args=list(arguments))

        return call


#: What every script begins with.
_PRELUDES = ("prelude.lua", "views.lua")


@cache
def _names() -> list[str]:
    scripts = (files("worker") / "lua").iterdir()
    return [path.name.removesuffix(".lua") for path in scripts if path.name not in (*_PRELUDES, "__pycache__")]


@cache
def _source(name: str) -> str:
    folder = files("worker") / "lua"
    return "".join((folder / part).read_text() for part in (*_PRELUDES, f"{name}.lua"))
