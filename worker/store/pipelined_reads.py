"""Small reads of several commands in one round trip, over dedicated connections.

`redis.client.Pipeline` takes about four times the CPU, which matters for cached reads: each is one such read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis

from worker.store.client import by_state

#: How many idle connections are kept here; others go back to the client's pool.
_MAX_IDLE = 32

#: Commands packed for sending, and how many there are.
PackedCommands = tuple[list[bytes], int]


class PipelinedReads:
    """Sends packed commands over redis-py's connections."""

    def __init__(self, client: redis.Redis) -> None:
        """``client``: whose connection pool is used."""
        self._pool: Any = client.connection_pool
        self._idle: deque[Any] = deque()

    def pack(self, commands: Sequence[Sequence[str]]) -> PackedCommands:
        """Serialise commands; the result may be sent any number of times."""
        connection = self._take()
        try:
            return connection.pack_commands(commands), len(commands)
        finally:
            self._keep(connection)

    def read(self, packed: PackedCommands) -> tuple[Any, ...]:
        """Send the commands; return one reply for each, bytes undecoded.

        Raises what redis-py raises when Redis is unavailable or refuses a command.
        """
        was_idle = bool(self._idle)
        try:
            return self._exchange(self._take(), packed)
        except redis.ConnectionError:
            # An idle connection may be broken. Reads may be repeated safely.
            if not was_idle:
                raise
            self._discard_idle()
            return self._exchange(self._take(), packed)

    def _exchange(self, connection: Any, packed: PackedCommands) -> tuple[Any, ...]:
        commands, count = packed
        try:
            connection.send_packed_command(commands)
            replies = tuple([connection.read_response() for _ in range(count)])
        except BaseException as error:
            # Unread replies would answer the next command.
            connection.disconnect()
            self._pool.release(connection)
            if isinstance(error, redis.ResponseError):
                raise by_state(error) from None
            raise
        self._keep(connection)
        return replies

    def _discard_idle(self) -> None:
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                connection.disconnect()
                self._pool.release(connection)

    def _take(self) -> Any:
        with suppress(IndexError):
            return self._idle.pop()
        return self._pool.get_connection()

    def _keep(self, connection: Any) -> None:
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(connection)
        else:
            self._pool.release(connection)
