"""Idempotency-Keys: what was accepted under a key before, and which jobs a request for many jobs has chosen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import redis

from worker.config.json_encoding import as_json
from worker.config.settings import Settings
from worker.jobs.query import key_of
from worker.store.keys import Keys


def idempotency_name(owner_key: str, key: str) -> str:
    """Return the name in Redis of a requester's key; empty without a key."""
    return f"{owner_key}:{key_of(key)}" if key else ""


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """A request that was accepted under a key."""

    request_hash: str
    #: The job that was made; empty when the request was for many.
    job_id: str
    #: What a request for many jobs has chosen, as JSON.
    choice: Any = None


class IdempotencyKeys:
    """The known keys, by `idempotency_name`. Methods raise what redis-py raises when Redis is unavailable."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._keys = Keys(settings.key_prefix)
        self._keep_ms = settings.idempotency_keep * 1000

    def find(self, name: str) -> KnownRequest | None:
        """Return what was accepted under a key; None for a new one, or an empty name."""
        if not name:
            return None
        fields: Any = self._redis.hmget(self._keys.idempotency(name), "hash", "id", "choice")
        return None if fields[0] is None else _to_known_request(*fields)

    def freeze(self, name: str, request_hash: str, choice: Any) -> KnownRequest:
        """Record what a request for many jobs has chosen; return what was recorded first, by whichever request."""
        key = self._keys.idempotency(name)
        with self._redis.pipeline() as pipe:
            for field, value in (("hash", request_hash), ("id", ""), ("choice", as_json(choice))):
                pipe.hsetnx(key, field, value)
            pipe.pexpire(key, self._keep_ms)
            pipe.hmget(key, "hash", "id", "choice")
            return _to_known_request(*pipe.execute()[-1])


def _to_known_request(request_hash: bytes, job_id: bytes, choice: bytes | None) -> KnownRequest:
    return KnownRequest(request_hash.decode(), job_id.decode(), json.loads(choice) if choice else None)
