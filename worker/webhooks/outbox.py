"""Deliveries in Redis: made once for each end and receiver, retried until they are accepted or a day has passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from worker.store.keys import Keys
from worker.store.scripts import JobScripts

#: The maximum number of concurrent deliveries to one receiver.
_AT_A_TIME = 4
#: Longer than any attempt; afterwards, an attempt whose worker died is repeated.
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
        """Return the position up to which the event log was dispatched; empty if it never was."""
        position: Any = self._redis.get(self._keys.webhook_position)
        return position.decode() if position else ""

    def announce_callbacks(self, *, possible: bool) -> None:
        """Announce to the API whether requests may have callbacks."""
        if possible:
            self._redis.set(self._keys.webhook_callbacks, "1")
        else:
            self._redis.delete(self._keys.webhook_callbacks)

    def targets(self) -> list[str]:
        """Return the receivers and hosts of callbacks to which something was sent."""
        targets: Any = self._redis.smembers(self._keys.webhook_targets)
        return sorted(target.decode() for target in targets)

    def take(self, target: str, *, is_configured: bool) -> list[tuple[str, str]]:
        """Take due deliveries to a target; return the id of each, and the context of its job's trace.

        Deliveries that have waited for a day for a target that fails are given up.

        ``is_configured``: is it one of the receivers? How any other target does is forgotten with its last delivery.
        """
        return self._scripts.take_deliveries(target, _AT_A_TIME, _LEASE_MS, _KEEP_MS, is_configured=is_configured)

    def get(self, delivery_id: str) -> Delivery | None:
        """Return a delivery; None when it has ended."""
        names = ("receiver", "url", "body", "job_id", "traceparent")
        fields: Any = self._redis.hmget(self._keys.webhook(delivery_id), *names)
        if fields[2] is None:
            return None
        receiver, url, body, job_id, traceparent = fields
        texts = [(value or b"").decode() for value in (receiver, url, job_id, traceparent)]
        return Delivery(delivery_id, texts[0], texts[1], body, texts[2], texts[3])

    def end(self, delivery_id: str, error: str = "") -> str:
        """Record the result of an attempt; return delivered, again or given-up."""
        return self._scripts.end_delivery(delivery_id, error, self._backoff_ms, _LONGEST_BACKOFF_MS, _KEEP_MS)
