"""Connections to Redis that answer or fail in bounded time and send no write twice, and the scripts run there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib.resources import files
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from worker.config import redis_urls as addresses
from worker.config.json_encoding import as_json
from worker.config.settings import Settings

#: Two tries to connect and one answer must fit into the second within which a request says that Redis is away.
ANSWER_LIMIT_S = 0.7
#: How long replicas have to take what was written (milliseconds).
_REPLICAS_WAIT_MS = 300
#: Errors that mean that Redis is away (or frozen, loading, read-only or full): nothing was accepted.
RedisAway = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ReadOnlyError, redis.OutOfMemoryError)

__all__ = [
    "ANSWER_LIMIT_S",
    "AnswerLost",
    "NotHeld",
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


class AnswerLost(redis.ConnectionError):
    """Redis was asked, and its answer did not come: what it was asked for may have been done, or will be."""


class NotHeld(RefusesWrites):
    """Too few replicas hold what was written, so that a failover might take it back; ``answer`` is the script's."""

    def __init__(self, answer: Any) -> None:
        super().__init__("too few replicas hold what was written")
        self.answer = answer


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
    url = settings.redis_url.get_secret_value()
    limits = {
        "socket_timeout": answer_limit_s,
        "socket_connect_timeout": answer_limit_s,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": connections,
        "protocol": 2,
    }
    found = addresses.sentinels(url)
    if found is None:
        return _Client.from_url(url, **limits)
    # Also where no sentinel answers, the answer is there in time.
    each_s = answer_limit_s / len(found.hosts)
    own = {"socket_timeout": each_s, "socket_connect_timeout": each_s, "retry": limits["retry"], "protocol": 2}
    asked = _Sentinels(list(found.hosts), sentinel_kwargs=own | dict(found.own_options))  # type: ignore[no-untyped-call]
    pool = SentinelConnectionPool(found.master_name, asked, **(limits | {"ssl": found.tls} | dict(found.options)))  # type: ignore[no-untyped-call]
    return _Client(connection_pool=pool)


class _Sentinels(Sentinel):
    """Asks the sentinels for the master, from any thread.

    redis-py puts the one that answered in front of a list that other threads walk through, which may lose one for good.
    """

    _first = 0

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Where the master is now; the sentinel that knew it last is asked first."""
        first, count = self._first, len(self.sentinels)
        for index in (*range(first, count), *range(first)):
            try:
                state = self.sentinels[index].sentinel_masters().get(service_name)
            except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
                continue
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                self._first = index
                return state["ip"], state["port"]
        raise MasterNotFoundError(f"no sentinel knows a master called {service_name} that is there")


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


#: What a script is given; lists and tables as JSON.
Argument = str | float | bytes | Mapping[str, Any] | list[Any]


class Script(Protocol):
    def __call__(self, *arguments: Argument) -> Any: ...


def _given(argument: Argument) -> str | float | bytes:
    return argument if isinstance(argument, str | int | float | bytes) else as_json(argument)


class Scripts:
    """The Lua scripts beside this module, each callable by its name: one atomic step on the server's clock."""

    def __init__(self, client: redis.Redis, prefix: str, *, replicas: int = 0) -> None:
        """``replicas``: how many must hold what `accept` and `mark` write; else these raise NotHeld."""
        self._client = client
        self._prefix = prefix
        self._replicas = replicas
        self._registered = {name: client.register_script(_source(name)) for name in _names()}

    def __getattr__(self, name: str) -> Script:
        script = self._registered[name]
        if self._replicas and name in _DURABLE:
            return partial(self._durably, script)
        return partial(self._run, script)

    def _run(self, script: Any, *arguments: Argument) -> Any:
        given = [_given(argument) for argument in arguments]
        try:
            return self._at_once("EVALSHA", script.sha, 1, self._prefix, *given)
        except redis.exceptions.NoScriptError:
            # Whole: Redis runs it, and knows it from then on.
            return self._at_once("EVAL", script.script, 1, self._prefix, *given)

    def _at_once(self, command: str, *arguments: str | float | bytes) -> Any:
        """Ask without what the library does for retries and measurements, of which there are none here."""
        pool: Any = self._client.connection_pool
        connection = pool.get_connection()
        try:
            with _asked():
                connection.send_command(command, *arguments)
                return self._client.parse_response(connection, command)  # type: ignore[no-untyped-call]
        finally:
            pool.release(connection)

    def _durably(self, script: Callable[..., Any], *arguments: Argument) -> Any:
        """Run a script, and see to it that no failover can take back what it wrote, or what its answer rests on."""
        # WAIT speaks of what was written over its own connection, which cannot outlive a failover.
        with self._client.client() as one:  # type: ignore[no-untyped-call]
            with _asked():
                answer = script(keys=[self._prefix], args=[_given(argument) for argument in arguments], client=one)
            # What a script only read was perhaps written a moment ago; a write after it stands for that, too.
            one.set(f"{self._prefix}held", "1")
            if int(one.wait(self._replicas, _REPLICAS_WAIT_MS)) < self._replicas:
                raise NotHeld(answer)
        return answer


@contextmanager
def _asked() -> Iterator[None]:
    """What breaks inside the block breaks after Redis was asked."""
    try:
        yield
    except (RefusesWrites, redis.BusyLoadingError):
        raise
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise AnswerLost(str(error)) from error


#: Scripts whose word is given to somebody outside: to a client, or, by what is done next, to a storage system.
_DURABLE = ("accept", "mark")
#: What every script begins with.
_PRELUDES = ("prelude.lua", "views.lua")


@cache
def _names() -> list[str]:
    scripts = (files("worker.store") / "lua").iterdir()
    return [path.name.removesuffix(".lua") for path in scripts if path.name not in (*_PRELUDES, "__pycache__")]


@cache
def _source(name: str) -> str:
    folder = files("worker.store") / "lua"
    return "".join((folder / part).read_text() for part in (*_PRELUDES, f"{name}.lua"))
