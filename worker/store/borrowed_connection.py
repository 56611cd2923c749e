"""Borrows a connection of redis-py's pool to send commands and read replies directly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from worker.store.client import by_state


@contextmanager
def borrowed_connection(pool: Any) -> Iterator[Any]:
    """Provide a connection of a pool inside the block, which must read all replies to its commands.

    After any exception but an error reply of Redis a reply may be unread, which would answer the
    next command, so the connection is closed. redis-py does so itself for a plain connection, but not for one to
    a master that sentinels name.
    """
    connection = pool.get_connection()
    try:
        yield connection
    except redis.ResponseError as error:
        raise by_state(error) from None
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
