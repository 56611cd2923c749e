"""Readiness: workers online for each queue, and the last known state of the storage systems."""

from __future__ import annotations

from typing import Any

import orjson
import redis

from api.services import Services
from worker.catalog.operations import QueueClass
from worker.jobs.status import WORKER_TTL_MS
from worker.store.keys import Keys


def queue_names(services: Services) -> list[str]:
    """Return the names of all queues."""
    return [f"{subsystem}.{queue_class}" for subsystem in services.subsystems for queue_class in QueueClass]


def now_ms(client: redis.Redis) -> int:
    """Redis's clock, in Unix milliseconds."""
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def check(services: Services) -> dict[str, Any]:
    """Read the state from Redis; raises what redis-py raises when it is unavailable."""
    keys, queues = Keys(services.settings.key_prefix), queue_names(services)
    since = now_ms(services.redis) - WORKER_TTL_MS
    pipe = services.redis.pipeline(transaction=False)
    for queue in queues:
        pipe.zcount(keys.workers(queue), since, "+inf")
        pipe.zcard(keys.queued(queue))
    for subsystem in services.subsystems:
        pipe.get(keys.health(subsystem))
    pipe.zrangebyscore(keys.draining, since, "+inf")
    *answers, draining = pipe.execute()
    counts = zip(queues, answers[: 2 * len(queues) : 2], answers[1 : 2 * len(queues) : 2], strict=True)
    return {
        "queues": {queue: {"workers_online": online, "waiting": waiting} for queue, online, waiting in counts},
        "draining": len(draining),
        "subsystems": dict(zip(services.subsystems, map(_health, answers[2 * len(queues) :]), strict=True)),
    }


def _health(raw: bytes | None) -> Any:
    return orjson.loads(raw) if raw else {"status": "unknown"}
