"""Runs the Lua scripts in `lua/` with EVALSHA, without retries, and optionally replicated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any

import redis

from worker.config.json_encoding import as_json
from worker.store.borrowed_connection import borrowed_connection
from worker.store.client import NotReplicated, ReplyLost, WriteRefused
from worker.store.keys import Keys

#: The timeout of WAIT (milliseconds).
_REPLICAS_WAIT_MS = 300
#: Prepended to every script.
_FUNCTIONS = tuple(f"{part}_functions.lua" for part in ("record", "index", "job", "batch", "claim", "listing"))

#: Arguments of a script; lists and mappings are passed as JSON.
Argument = str | float | bytes | Mapping[str, Any] | Sequence[Any]


class ScriptRunner:
    """The registered scripts of one deployment. Every method raises what redis-py raises when Redis is unavailable."""

    def __init__(self, client: redis.Redis, prefix: str, *, replicas: int = 0) -> None:
        """``replicas``: how many must hold what `submit_job` and `record_progress` write; else NotReplicated."""
        self._client = client
        self._prefix = prefix
        self._keys = Keys(prefix)
        self._replicas = replicas
        self.registered = {name: client.register_script(script_source(name)) for name in script_names()}

    def _run(self, name: str, *arguments: Argument) -> Any:
        script: Any = self.registered[name]
        encoded = [_encoded(argument) for argument in arguments]
        try:
            return self._execute("EVALSHA", script.sha, 1, self._prefix, *encoded)
        except redis.exceptions.NoScriptError:
            # EVAL with the source, which Redis caches.
            return self._execute("EVAL", script.script, 1, self._prefix, *encoded)

    def _execute(self, command: str, *arguments: str | float | bytes) -> Any:
        """Send one command without the library's retries and metrics, which this client does not use."""
        with borrowed_connection(self._client.connection_pool) as connection, _reply_expected():
            connection.send_command(command, *arguments)
            return self._client.parse_response(connection, command)  # type: ignore[no-untyped-call]

    def _run_replicated(self, name: str, *arguments: Argument) -> Any:
        """Run a script, and wait until replicas have what it wrote or read."""
        if not self._replicas:
            return self._run(name, *arguments)
        # WAIT covers the writes of its own connection, which does not survive a failover.
        with self._client.client() as one:  # type: ignore[no-untyped-call]
            encoded = [_encoded(argument) for argument in arguments]
            with _reply_expected():
                answer = self.registered[name](keys=[self._prefix], args=encoded, client=one)
            if not self._is_replicated(one):
                raise NotReplicated(answer)
        return answer

    def _is_replicated(self, one: redis.Redis) -> bool:
        """Do enough replicas have what this connection wrote or read? An error after that is no refusal of it."""
        try:
            # What the script read may have been written a moment ago; a later write makes WAIT cover that, too.
            one.set(self._keys.replication_marker, "1")
            return int(one.wait(self._replicas, _REPLICAS_WAIT_MS)) >= self._replicas
        except redis.RedisError:
            return False


def _encoded(argument: Argument) -> str | float | bytes:
    return argument if isinstance(argument, str | int | float | bytes) else as_json(argument)


@contextmanager
def _reply_expected() -> Iterator[None]:
    """Mark connection errors inside the block as errors after the command was sent."""
    try:
        yield
    except (WriteRefused, redis.BusyLoadingError):
        raise
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise ReplyLost(str(error)) from error


@cache
def script_names() -> list[str]:
    """Return the names of all scripts."""
    scripts = (files("worker.store") / "lua").iterdir()
    return [path.name.removesuffix(".lua") for path in scripts if path.name not in (*_FUNCTIONS, "__pycache__")]


@cache
def script_source(name: str) -> str:
    """Return a script's source, with the functions that are prepended to every script."""
    folder = files("worker.store") / "lua"
    return "".join((folder / part).read_text() for part in (*_FUNCTIONS, f"{name}.lua"))
