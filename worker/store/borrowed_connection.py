"""A connection of redis-py's pool for commands and replies of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis


@contextmanager
def borrowed_connection(pool: Any) -> Iterator[Any]:
    """A connection of a pool inside the block, which reads every reply that it has caused.

    What fails otherwise than with an error that Redis answered may have left a reply unread, which would answer the
    next command: then the connection is closed. redis-py does so by itself for a plain connection, but not for one to
    a master that sentinels name.
    """
    connection = pool.get_connection()
    try:
        yield connection
    except redis.ResponseError:
        raise
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
