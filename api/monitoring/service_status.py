"""How the service stands, as Redis tells it: queues and their workers, storage systems, listings, recent failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson

from api.monitoring import readiness
from api.services import Parts
from worker.catalog.resource_types import POLICIES, VOLUMES, View
from worker.jobs.status import WORKER_TTL_MS, ShownJob
from worker.listings.repository import Standing
from worker.store.metrics import HASH, breaker_key

#: Listings of which there is one for each storage system; the others are as many as there are volumes.
LISTINGS = (VOLUMES, POLICIES)


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue; ``oldest_s`` is how long its first job has waited, in seconds (0 where none waits)."""

    name: str
    waiting: int
    running: int
    oldest_s: float
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Filer:
    """One storage system as workers see it: its health, and how many workers' breakers are in each state."""

    subsystem: str
    status: str
    detail: str
    breakers: Counter[str]

    @property
    def left_alone(self) -> int:
        """How many workers do not ask it at present, since they could not reach it."""
        return self.breakers.total() - self.breakers["closed"]


@dataclass(frozen=True, slots=True)
class Listing:
    """One cached listing."""

    subsystem: str
    view: View
    standing: Standing


def queues(held: Parts) -> list[Queue]:
    """Every queue, in one round trip."""
    names = readiness.queue_names(held)
    return [
        Queue(name, waiting, running, oldest_ms / 1000, tuple(worker.decode() for worker in workers))
        for name, (waiting, running, oldest_ms, workers) in zip(
            names, held.scripts.figures(WORKER_TTL_MS, *names), strict=True
        )
    ]


def filers(held: Parts, nodes: set[str]) -> list[Filer]:
    """Every storage system; ``nodes`` are the workers that are online."""
    prefix, ordered = held.settings.key_prefix, sorted(nodes)
    pipe = held.redis.pipeline(transaction=False)
    for subsystem in held.subsystems:
        pipe.get(f"{prefix}health:{subsystem}")
        pipe.mget([breaker_key(prefix, subsystem, node) for node in ordered] or [f"{prefix}nothing"])
    answers = pipe.execute()
    return [
        _filer(subsystem, health, states)
        for subsystem, health, states in zip(held.subsystems, answers[::2], answers[1::2], strict=True)
    ]


def _filer(subsystem: str, raw: bytes | None, states: list[bytes | None]) -> Filer:
    health: dict[str, Any] = orjson.loads(raw) if raw else {}
    breakers = Counter(state.decode() for state in states if state)
    return Filer(subsystem, str(health.get("status", "unknown")), str(health.get("detail", "")), breakers)


def listings(held: Parts) -> list[Listing]:
    """The listings that are cached now."""
    found = [
        Listing(subsystem, view, held.listings.standing(view, view.thing(subsystem, {})))
        for subsystem in held.subsystems
        for view in LISTINGS
    ]
    return [listing for listing in found if listing.standing.generation is not None]


def recent_failures(held: Parts, most: int) -> list[ShownJob]:
    """The jobs that failed last, the latest first; of the last hundred, as far as they are kept."""
    ids: Any = held.redis.lrange(f"{held.settings.key_prefix}failures", 0, most - 1)
    shown = (held.jobs.show(job_id.decode()) for job_id in ids)
    return [each for each in shown if each is not None]


def counts(held: Parts) -> dict[str, int]:
    """All that was counted; see `worker.store.metrics`."""
    found: Any = held.redis.hgetall(held.settings.key_prefix + HASH)
    return {field.decode(): int(value) for field, value in found.items()}
