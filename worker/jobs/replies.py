"""The reply queue: a request that waits for its own job pops the result from a list, which the finish script fills."""

from __future__ import annotations

import threading
import time

import redis

from worker.jobs.waiter_slots import WaiterSlots
from worker.store.blocking_pop import blocking_pop
from worker.store.keys import Keys

#: How long one command waits at most (seconds); requests end within this time when the process shuts down.
_LONGEST_POP_S = 5.0
#: Redis waits for ever where the time limit is 0, to which some versions round less than a millisecond.
_SHORTEST_POP_S = 0.001


class ReplyQueue:
    """The results of jobs whose request waits for a reply, each delivered once."""

    def __init__(self, client: redis.Redis, prefix: str, waiter_slots: WaiterSlots, stopping: threading.Event) -> None:
        """Prepare the queue.

        Args:
            client: the connections to Redis.
            prefix: the prefix of all keys.
            waiter_slots: limits how many wait at a time.
            stopping: set when the process shuts down; nobody waits then.
        """
        self._redis = client
        self._keys = Keys(prefix)
        self._waiter_slots = waiter_slots
        self._stopping = stopping

    def wait(self, job_id: str, seconds: float) -> bytes:
        """Wait for the job to succeed, and return its result as JSON.

        Empty when the caller must read the job: it ended otherwise, is late, its result is large, too many wait, or the
        process shuts down.

        Raises what redis-py raises when Redis is unavailable.
        """
        if not self._waiter_slots.acquire(blocking=False):
            return b""
        try:
            return self._pop(self._keys.reply(job_id), seconds)
        finally:
            self._waiter_slots.release()

    def _pop(self, key: str, seconds: float) -> bytes:
        ends_at = time.monotonic() + seconds
        while not self._stopping.is_set() and (left_s := ends_at - time.monotonic()) > _SHORTEST_POP_S:
            reply = blocking_pop(self._redis, key, min(left_s, _LONGEST_POP_S))
            if reply is not None:
                return reply
        return b""
