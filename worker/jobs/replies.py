"""The reply queue: a request that waits for its own job pops the result from a list, which the finish script fills."""

from __future__ import annotations

import redis

from worker.jobs.waiter_slots import WaiterSlots
from worker.store.blocking_pop import blocking_pop
from worker.store.keys import Keys


class ReplyQueue:
    """The results of jobs whose request waits for a reply, each delivered once."""

    def __init__(self, client: redis.Redis, prefix: str, waiter_slots: WaiterSlots) -> None:
        """``waiter_slots``: limits how many wait at a time."""
        self._redis = client
        self._keys = Keys(prefix)
        self._waiter_slots = waiter_slots

    def wait(self, job_id: str, seconds: float) -> bytes:
        """Wait for the job to succeed, and return its result as JSON.

        Empty when the caller must read the job: it ended otherwise, is late, its result is large, or too many wait.

        Raises what redis-py raises when Redis is unavailable.
        """
        if not self._waiter_slots.acquire(blocking=False):
            return b""
        try:
            return blocking_pop(self._redis, self._keys.reply(job_id), seconds) or b""
        finally:
            self._waiter_slots.release()
