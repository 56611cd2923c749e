"""The reply queue: a request that waits for its own job takes the result from a list, filled by the finish script."""

from __future__ import annotations

import threading

import redis

from worker.store.keys import Keys

#: How much longer than it was told to wait Redis may take to answer (seconds); a request must not last longer either.
_GRACE_S = 0.7


class ReplyQueue:
    """The results of jobs whose request waits for a reply, each delivered once."""

    def __init__(self, client: redis.Redis, prefix: str, waiter_slots: threading.BoundedSemaphore) -> None:
        """``waiter_slots``: limits how many wait at a time."""
        self._pool = client.connection_pool
        self._keys = Keys(prefix)
        self._waiter_slots = waiter_slots

    def wait(self, job_id: str, seconds: float) -> bytes:
        """Return the job's result as JSON as soon as it has succeeded.

        Empty when one must look: after another end, after that time, when the result is large, when too many wait.

        Raises what redis-py raises when Redis is away.
        """
        if not self._waiter_slots.acquire(blocking=False):
            return b""
        try:
            return self._pop(self._keys.reply(job_id), seconds)
        finally:
            self._waiter_slots.release()

    def _pop(self, key: str, seconds: float) -> bytes:
        # The library's own call would give up at the time limit of its connections, which is that of quick answers.
        connection = self._pool.get_connection()
        try:
            connection.send_command("BLPOP", key, seconds)  # type: ignore[no-untyped-call]
            popped = connection.read_response(timeout=seconds + _GRACE_S)
        finally:
            self._pool.release(connection)
        return popped[1] if popped else b""
