"""The state of the service as recorded in Redis: queues and workers, storage systems, listings, recent failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson

from api.monitoring import readiness
from api.services import Services
from worker.catalog.resource_types import POLICIES, VOLUMES, ResourceType
from worker.jobs.event_log import EventLog, Position
from worker.jobs.status import WORKER_TTL_MS, JobStatus
from worker.listings.repository import ListingState
from worker.store.keys import Keys
from worker.store.metrics import totals

#: Resource types with one listing for each storage system; of the others there is one for each volume.
LISTINGS = (VOLUMES, POLICIES)


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue; ``oldest_s`` is how long its first job has waited, in seconds (0 where none waits)."""

    name: str
    waiting: int
    running: int
    oldest_s: float
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """The state of one storage system: its health, and how many workers' circuit breakers are in each state."""

    subsystem: str
    status: str
    detail: str
    breakers: Counter[str]

    @property
    def breakers_open(self) -> int:
        """How many workers have an open circuit breaker."""
        return self.breakers.total() - self.breakers["closed"]


@dataclass(frozen=True, slots=True)
class ListingStatus:
    """One cached listing."""

    subsystem: str
    resource_type: ResourceType
    listing_state: ListingState


def queues(services: Services) -> list[QueueStatus]:
    """Return the state of every queue, in one round trip."""
    names = readiness.queue_names(services)
    return [
        QueueStatus(name, waiting, running, oldest_ms / 1000, tuple(worker.decode() for worker in workers))
        for name, (waiting, running, oldest_ms, workers) in zip(
            names, services.scripts.queue_stats(WORKER_TTL_MS, *names), strict=True
        )
    ]


def backends(services: Services, nodes: set[str]) -> list[BackendStatus]:
    """Return the state of every storage system; ``nodes`` are the workers that are online."""
    keys, ordered = Keys(services.settings.key_prefix), sorted(nodes)
    pipe = services.redis.pipeline(transaction=False)
    for subsystem in services.subsystems:
        pipe.get(keys.health(subsystem))
        pipe.mget([keys.breaker(subsystem, node) for node in ordered] or [keys.breaker(subsystem, "")])
    answers = pipe.execute()
    return [
        _filer(subsystem, health, states)
        for subsystem, health, states in zip(services.subsystems, answers[::2], answers[1::2], strict=True)
    ]


def _filer(subsystem: str, raw: bytes | None, states: list[bytes | None]) -> BackendStatus:
    health: dict[str, Any] = orjson.loads(raw) if raw else {}
    breakers = Counter(state.decode() for state in states if state)
    return BackendStatus(subsystem, str(health.get("status", "unknown")), str(health.get("detail", "")), breakers)


def listings(services: Services) -> list[ListingStatus]:
    """Return the cached listings."""
    candidates = [
        ListingStatus(
            subsystem,
            resource_type,
            services.listings.listing_state(resource_type, resource_type.cache_key(subsystem, {})),
        )
        for subsystem in services.subsystems
        for resource_type in LISTINGS
    ]
    return [listing for listing in candidates if listing.listing_state.listing_version is not None]


def draining(services: Services) -> list[str]:
    """Return the names of the workers that are shutting down."""
    since = readiness.now_ms(services.redis) - WORKER_TTL_MS
    nodes: Any = services.redis.zrangebyscore(Keys(services.settings.key_prefix).draining, since, "+inf")
    return [node.decode() for node in nodes]


def history(services: Services) -> list[dict[str, float]]:
    """Return the intervals of the last day, the oldest first, the last one until now.

    Each has its begin and end (``from``, ``at``: Unix s), its jobs by state, and their run time (``run_s``, seconds).
    """
    keys = Keys(services.settings.key_prefix)
    raw: Any = services.redis.lrange(keys.metrics_history, 0, -1)
    entries: list[dict[str, float]] = [orjson.loads(entry) for entry in reversed(raw)]
    if entries:
        entries.append({"at": readiness.now_ms(services.redis) / 1000, **totals(counts(services))})
    return [
        {"from": earlier["at"], "at": later["at"]}
        | {name: max(0, later[name] - earlier[name]) for name in later if name != "at"}
        for earlier, later in pairwise(entries)
    ]


@dataclass(frozen=True, slots=True)
class WebhookStatus:
    """One receiver of webhooks, or host of callbacks: waiting deliveries, and for how long it has failed (s)."""

    name: str
    waiting: int
    failing_s: float
    error: str


def webhooks(services: Services) -> list[WebhookStatus]:
    """Return every receiver to which something was sent."""
    keys, client = Keys(services.settings.key_prefix), services.redis
    targets: Any = client.smembers(keys.webhook_targets)
    names = sorted(name.decode() for name in targets)
    pipe = client.pipeline(transaction=False)
    pipe.time()
    for name in names:
        pipe.zcard(keys.webhook_due(name))
        pipe.zcard(keys.webhook_running(name))
        pipe.hmget(keys.webhook_state(name), "failing_since", "last_error")
    (seconds, _), *answers = pipe.execute()
    return [
        WebhookStatus(name, due + running, _since(since, int(seconds)), (error or b"").decode())
        for name, due, running, (since, error) in zip(names, answers[::3], answers[1::3], answers[2::3], strict=True)
    ]


def unread_by_webhooks_s(services: Services) -> float | None:
    """Return how long the first change waits that no process which sends webhooks has read (seconds; 0: none waits).

    None where no such process has ever run.
    """
    keys, client = Keys(services.settings.key_prefix), services.redis
    recorded: Any = client.get(keys.webhook_position)
    position = Position.parse((recorded or b"").decode())
    if position is None:
        return None
    unread = EventLog(client, services.settings.key_prefix).read(position, 1)
    seconds, _ = client.time()
    return _since(unread[0].position.stream_id.partition("-")[0].encode(), int(seconds)) if unread else 0.0


def _since(moment_ms: bytes | None, now_s: int) -> float:
    return max(0.001, now_s - int(moment_ms) / 1000) if moment_ms else 0.0


def recent_failures(services: Services, most: int) -> list[JobStatus]:
    """Return the last failed jobs, the latest first: at most ``most`` of the last hundred, unless expired."""
    ids: Any = services.redis.lrange(Keys(services.settings.key_prefix).failures, 0, most - 1)
    statuses = (services.jobs.get(job_id.decode()) for job_id in ids)
    return [job_status for job_status in statuses if job_status is not None]


def counts(services: Services) -> dict[str, int]:
    """Return all counters; see `worker.store.metrics`."""
    fields: Any = services.redis.hgetall(Keys(services.settings.key_prefix).metrics)
    return {field.decode(): int(value) for field, value in fields.items()}
