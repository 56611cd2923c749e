"""Tells a request that made a job, and is held open for it, of its success: straight from the step that ends it."""

from __future__ import annotations

import threading

import redis

from worker.store.client import ANSWER_LIMIT_S


class Answers:
    """The results of awaited jobs, each told once."""

    def __init__(self, client: redis.Redis, prefix: str, room: threading.BoundedSemaphore) -> None:
        """``room``: for how many may wait at a time."""
        self._pool = client.connection_pool
        self._prefix = prefix
        self._room = room

    def wait(self, job_id: str, seconds: float) -> bytes:
        """Return the job's result as JSON as soon as it has succeeded.

        Empty when one must look: after another end, after that time, when the result is large, when too many wait.

        Raises what redis-py raises when Redis is away.
        """
        if not self._room.acquire(blocking=False):
            return b""
        try:
            return self._pop(f"{self._prefix}answer:{job_id}", seconds)
        finally:
            self._room.release()

    def _pop(self, key: str, seconds: float) -> bytes:
        # The library's own call would give up at the time limit of its connections, which is that of quick answers.
        connection = self._pool.get_connection()
        try:
            connection.send_command("BLPOP", key, seconds)  # type: ignore[no-untyped-call]
            popped = connection.read_response(timeout=seconds + ANSWER_LIMIT_S)
        finally:
            self._pool.release(connection)
        return popped[1] if popped else b""
