"""Deliveries in Redis: made once for each end and receiver, tried until they are taken or a day has passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from worker.store.keys import Keys
from worker.store.scripts import JobScripts

#: Deliveries to one receiver at a time.
_AT_A_TIME = 4
#: Longer than any attempt: one whose worker died is made again after that.
_LEASE_MS = 20_000
_BACKOFF_MS, _LONGEST_BACKOFF_MS = 2_000, 600_000
_KEEP_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for one receiver; ``receiver`` is empty for a callback, which has a URL of its own."""

    id: str
    receiver: str
    url: str
    body: bytes
    job_id: str
    #: The context of the job's trace; empty when it has none.
    traceparent: str = ""


class Outbox:
    """The deliveries. Every method raises what redis-py raises when Redis is unavailable."""

    def __init__(self, client: redis.Redis, scripts: JobScripts, prefix: str, *, backoff_ms: int = _BACKOFF_MS) -> None:
        self._redis = client
        self._scripts = scripts
        self._keys = Keys(prefix)
        self._backoff_ms = backoff_ms

    def position(self) -> str:
        """Up to where the event log was dispatched; empty when it never was."""
        found: Any = self._redis.get(self._keys.webhook_position)
        return found.decode() if found else ""

    def announce_callbacks(self, *, possible: bool) -> None:
        """Let the API know whether requests may name receivers."""
        if possible:
            self._redis.set(self._keys.webhook_callbacks, "1")
        else:
            self._redis.delete(self._keys.webhook_callbacks)

    def targets(self) -> list[str]:
        """The receivers, and hosts of callbacks, that something was sent to."""
        found: Any = self._redis.smembers(self._keys.webhook_targets)
        return sorted(target.decode() for target in found)

    def take(self, target: str) -> list[tuple[str, str]]:
        """Take deliveries to a target that are due; return the id of each, and the context of its job's trace."""
        return self._scripts.take_deliveries(target, _AT_A_TIME, _LEASE_MS)

    def get(self, delivery_id: str) -> Delivery | None:
        """Return a delivery; None when it has ended."""
        names = ("receiver", "url", "body", "job_id", "traceparent")
        found: Any = self._redis.hmget(self._keys.webhook(delivery_id), *names)
        if found[2] is None:
            return None
        receiver, url, body, job_id, traceparent = found
        texts = [(value or b"").decode() for value in (receiver, url, job_id, traceparent)]
        return Delivery(delivery_id, texts[0], texts[1], body, texts[2], texts[3])

    def end(self, delivery_id: str, error: str = "") -> str:
        """Note how an attempt came out; delivered, again or given-up."""
        return self._scripts.end_delivery(delivery_id, error, self._backoff_ms, _LONGEST_BACKOFF_MS, _KEEP_MS)
