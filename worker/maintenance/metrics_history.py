"""A short history of the counters: how many jobs ended and how long they ran, every quarter of an hour for a day."""

from __future__ import annotations

import json
import time
from typing import Any

import redis

from worker.store.keys import Keys
from worker.store.metrics import totals

#: Seconds between two entries, and how many are kept: one day.
EVERY_S = 900
MAX_ENTRIES = 97


class MetricsHistory:
    """A task of the maintenance loop; one worker writes each entry that is due."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._redis = client
        self._keys = Keys(prefix)

    def __call__(self) -> None:
        if not self._redis.set(self._keys.metrics_history_due, "1", nx=True, ex=EVERY_S):
            return
        counters: Any = self._redis.hgetall(self._keys.metrics)
        entry = totals({field.decode(): int(value) for field, value in counters.items()})
        pipe = self._redis.pipeline(transaction=True)
        pipe.lpush(self._keys.metrics_history, json.dumps({"at": int(time.time()), **entry}))
        pipe.ltrim(self._keys.metrics_history, 0, MAX_ENTRIES - 1)
        pipe.execute()
