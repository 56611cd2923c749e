"""Waiting for an entry of a list: BLPOP with a time limit of its own."""

from __future__ import annotations

import redis

from worker.store.borrowed_connection import borrowed_connection

#: How much longer than the given timeout Redis may take to answer (seconds); a request must not last longer either.
_GRACE_S = 0.7
#: The same for an entry whose loss would cost more than the wait: of a Redis whose disk stands still for seconds.
LONG_GRACE_S = 5.0


def blocking_pop(client: redis.Redis, key: str, seconds: float, grace_s: float = _GRACE_S) -> bytes | None:
    """Wait for an entry of a list and pop it; None when there is none in that time.

    ``grace_s``: how much longer than that Redis may take to answer. What it has popped is lost when that is over.

    Raises what redis-py raises when Redis is unavailable.
    """
    with borrowed_connection(client.connection_pool) as connection:
        # `client.blpop` would fail at the time limit of its connections, which is meant for immediate replies.
        connection.send_command("BLPOP", key, seconds)
        popped: tuple[bytes, bytes] | None = connection.read_response(timeout=seconds + grace_s)
    return popped[1] if popped else None
