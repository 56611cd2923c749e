"""What is online: workers by queue, and the storage systems as workers last saw them."""

from __future__ import annotations

from typing import Any

import orjson
import redis

from api.services import Parts
from worker.catalog.operations import Lane
from worker.jobs.status import WORKER_TTL_MS


def queue_names(held: Parts) -> list[str]:
    """Every queue there is."""
    return [f"{subsystem}.{lane}" for subsystem in held.subsystems for lane in Lane]


def now_ms(client: redis.Redis) -> int:
    """Redis's clock, in Unix milliseconds."""
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def look(held: Parts) -> dict[str, Any]:
    """Ask Redis; raises what redis-py raises when it is away."""
    prefix, queues = held.settings.key_prefix, queue_names(held)
    since = now_ms(held.redis) - WORKER_TTL_MS
    pipe = held.redis.pipeline(transaction=False)
    for queue in queues:
        pipe.zcount(f"{prefix}workers:{queue}", since, "+inf")
        pipe.zcard(f"{prefix}lane:{queue}")
    for subsystem in held.subsystems:
        pipe.get(f"{prefix}health:{subsystem}")
    answers = pipe.execute()
    counts = zip(queues, answers[: 2 * len(queues) : 2], answers[1 : 2 * len(queues) : 2], strict=True)
    return {
        "queues": {queue: {"workers_online": online, "waiting": waiting} for queue, online, waiting in counts},
        "subsystems": dict(zip(held.subsystems, map(_health, answers[2 * len(queues) :]), strict=True)),
    }


def _health(raw: bytes | None) -> Any:
    return orjson.loads(raw) if raw else {"status": "unknown"}
