"""Tests whether a job could be recorded: with a write that Redis refuses in the same states as a job's record."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import redis

from worker.store.client import REDIS_UNAVAILABLE, explain, refuses_writes
from worker.store.keys import Keys

_ASK_EVERY_S = 1.0
_TTL_S = 60


@dataclass(frozen=True, slots=True)
class WriteState:
    """The result of the last probe."""

    #: Does Redis answer, whether it accepts writes or not?
    answers: bool = True
    #: Why no job can be recorded, for the operator; empty when jobs can be recorded.
    problem: str = ""


class WriteProbe:
    """Probes at most once a second."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._redis = client
        self._key = Keys(prefix).write_probe
        self._probed_at = float("-inf")
        self._state = WriteState()
        self._lock = threading.Lock()

    def state(self) -> WriteState:
        """The state of Redis, at most a second old."""
        with self._lock:
            if time.monotonic() - self._probed_at >= _ASK_EVERY_S:
                self._state = self._probe()
                self._probed_at = time.monotonic()
            return self._state

    def _probe(self) -> WriteState:
        try:
            self._redis.set(self._key, "1", ex=_TTL_S)
        except (*REDIS_UNAVAILABLE, redis.ResponseError) as error:
            return WriteState(answers=refuses_writes(error), problem=explain(error))
        return WriteState()
