"""Connections to Redis that answer or fail within a time limit, and never repeat a write."""

from __future__ import annotations

import secrets
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.driver_info import DriverInfo
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from worker.config import redis_urls as addresses
from worker.config.settings import Settings
from worker.store.keys import Keys

#: Errors that mean that Redis is unavailable (also frozen, loading, read-only or full): nothing was accepted.
REDIS_UNAVAILABLE = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ReadOnlyError, redis.OutOfMemoryError)


class WriteRefused(redis.ConnectionError):
    """Redis answers, but accepts no writes at present; nothing was accepted."""


class ReplyLost(redis.ConnectionError):
    """A command was sent, but no reply came: it may have been executed, or may still be."""


class NotReplicated(WriteRefused):
    """Too few replicas have the write, which a failover might lose; ``answer`` is the script's reply."""

    def __init__(self, answer: Any) -> None:
        super().__init__("too few replicas hold what was written")
        self.answer = answer


#: Error codes with which Redis refuses commands because of its state (full disk, too few replicas, a busy script), or
#: ends the wait of a blocking command (it became a replica).
_REFUSALS = ("MISCONF", "NOREPLICAS", "BUSY", "UNBLOCKED")
#: Those that redis-py raises as classes of their own, without the code in the message.
_REFUSAL_CLASSES: dict[type[redis.RedisError], str] = {
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    redis.exceptions.TryAgainError: "TRYAGAIN",
}


#: Descriptions of redis-py's error classes, whose own messages may contain host names.
_EXPLANATIONS: tuple[tuple[type[Exception], str], ...] = (
    (redis.OutOfMemoryError, "its memory is full (OOM: maxmemory is reached)"),
    (redis.exceptions.ReadOnlyError, "it is a replica and read-only (READONLY)"),
    (redis.BusyLoadingError, "it is still loading its data (LOADING)"),
    (redis.AuthenticationError, "it refuses the user or the password (see SAPI_REDIS_URL)"),
    (redis.exceptions.NoPermissionError, "its user may not do this (NOPERM)"),
    (redis.exceptions.MaxConnectionsError, "all connections of this process are in use"),
    (MasterNotFoundError, "no sentinel knows the master"),
    (redis.TimeoutError, "it does not answer in time"),
)
#: What connections say of themselves. Each would read redis-py's version from its package's files anew, a millisecond.
_DRIVER = DriverInfo()
_SHORT_TIMEOUT_S = 0.15
_MAX_CLIENTS = "max number of clients reached"
_LONGEST_WORDS = 200


def refuses_writes(error: Exception) -> bool:
    """Does this error mean that Redis answers, but accepts no writes?"""
    return isinstance(error, WriteRefused | redis.OutOfMemoryError | redis.exceptions.ReadOnlyError)


def explain(error: BaseException) -> str:
    """Return why Redis cannot be used, in words that may be shown to any client."""
    if isinstance(error, NotReplicated):
        return "too few replicas have what was written"
    if isinstance(error, WriteRefused):
        return f"it takes no writes ({str(error)[:_LONGEST_WORDS]})"
    if _MAX_CLIENTS in str(error):
        return f"it takes no more clients ({_MAX_CLIENTS})"
    for kind, words in _EXPLANATIONS:
        if isinstance(error, kind):
            return words
    if isinstance(error, redis.ResponseError):
        return f"it refuses: {str(error)[:_LONGEST_WORDS]}"
    return "it cannot be reached"


def by_state(error: redis.ResponseError) -> redis.RedisError:
    """Return WriteRefused where Redis refuses because of its state; any other error as it is."""
    if type(error) in _REFUSAL_CLASSES:
        return WriteRefused(f"{_REFUSAL_CLASSES[type(error)]} {error}")
    return WriteRefused(str(error)) if str(error).partition(" ")[0] in _REFUSALS else error


class _RecognisesWriteRefusals:
    """Raises WriteRefused where Redis refuses a command because of its state."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        client: Any = super()
        try:
            return client.parse_response(connection, command_name, **options)
        except redis.ResponseError as error:
            raise by_state(error) from None


class _Pipeline(_RecognisesWriteRefusals, Pipeline):
    """The pipelines of these clients; redis-py's own do not call the client's `parse_response`."""


class _Client(_RecognisesWriteRefusals, redis.Redis):
    """A client whose commands and pipelines raise WriteRefused."""

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def connect(settings: Settings, *, command_timeout_s: float | None = None, connections: int = 2100) -> redis.Redis:
    """Return a client that is safe for writes: no retries, since a write whose reply was lost may have been executed.

    Args:
        settings: the address of Redis, and its time limit.
        command_timeout_s: another time limit, in seconds.
        connections: the limit of the pool; a front end needs one for each of its 2,000 threads, and some more.
    """
    url = settings.redis_url.get_secret_value()
    command_timeout_s = command_timeout_s or settings.redis_timeout
    limits = {
        "socket_timeout": command_timeout_s,
        "socket_connect_timeout": command_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": connections,
        "protocol": 2,
        "driver_info": _DRIVER,
    }
    if url.startswith("unix:"):
        for of_tcp in ("socket_connect_timeout", "socket_keepalive"):
            del limits[of_tcp]
    sentinels = addresses.sentinels(url)
    if sentinels is None:
        return _Client.from_url(url, **limits)
    # All sentinels together must answer or fail within the time limit.
    time_limit_s = command_timeout_s / len(sentinels.hosts)
    sentinel_options = {
        "socket_timeout": time_limit_s,
        "socket_connect_timeout": time_limit_s,
        "retry": limits["retry"],
        "protocol": 2,
    }
    manager = _Sentinels(list(sentinels.hosts), sentinel_kwargs=sentinel_options | dict(sentinels.sentinel_options))  # type: ignore[no-untyped-call]
    pool = SentinelConnectionPool(
        sentinels.master_name, manager, **(limits | {"ssl": sentinels.tls} | dict(sentinels.options))
    )  # type: ignore[no-untyped-call]
    return _Client(connection_pool=pool)


def short_timeout_pool(pool: redis.ConnectionPool, time_limit_s: float = _SHORT_TIMEOUT_S) -> redis.ConnectionPool:
    """Return a pool for the same server, with a shorter time limit.

    For what must never delay a request, such as counting.
    """
    # A PING before a command may take as long again.
    changed: dict[str, Any] = {
        "socket_timeout": time_limit_s, "retry": Retry(NoBackoff(), 0), "health_check_interval": 0,
    }  # fmt: skip
    # Unix sockets have no connect timeout.
    if "socket_connect_timeout" in pool.connection_kwargs:
        changed["socket_connect_timeout"] = time_limit_s
    return redis.ConnectionPool(connection_class=pool.connection_class, **(pool.connection_kwargs | changed))


class _Sentinels(Sentinel):
    """Asks the sentinels for the master; thread-safe.

    redis-py moves the sentinel that answered to the front of a list over which other threads iterate: one can get lost.
    """

    _first = 0

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's address; the sentinel that knew it last is asked first."""
        first, count = self._first, len(self.sentinels)
        for index in (*range(first, count), *range(first)):
            sentinel = self.sentinels[index]
            try:
                state = sentinel.sentinel_masters().get(service_name)
            except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
                continue
            finally:
                # It is asked for new connections only. After a failover as many threads ask at once as have one.
                sentinel.connection_pool.disconnect(inuse_connections=False)
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                self._first = index
                return state["ip"], state["port"]
        raise MasterNotFoundError(f"no sentinel knows a master called {service_name} that is there")


def job_id_secret(client: redis.Redis, prefix: str) -> bytes:
    """Return the secret with which job ids are signed; the first process creates it."""
    key = Keys(prefix).id_secret
    if client.get(key) is None:  # A full Redis refuses every SET, also one that would change nothing.
        client.set(key, secrets.token_hex(32), nx=True)
    secret = client.get(key)
    assert isinstance(secret, bytes)  # noqa: S101 - just set, and nothing deletes it
    return secret
