"""What Redis holds of jobs, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.worker.harness import PREFIX, Harness
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.jobs.service import NewJob


def snapshot(harness: Harness, name: str, *, who: str = "ann", volume: str = "vol") -> NewJob:
    return replace(harness.new("create_snapshot", volume=volume, name=name), requester=who)


def ids(harness: Harness, key: str) -> list[str]:
    found: Any = harness.client.zrange(key, 0, -1)
    return [each.decode() for each in found]


def score(harness: Harness, key: str, member: str) -> float:
    found: Any = harness.client.zscore(key, member)
    return float(found)


def texts(harness: Harness, key: str) -> dict[str, str]:
    found: Any = harness.client.hgetall(f"{PREFIX}{key}")
    return {name.decode(): value.decode() for name, value in found.items()}


def in_state(harness: Harness, state: State) -> list[str]:
    statuses, _ = harness.jobs.find(JobFilter(states=(state,)), JobScope("ann"), 10)
    return [status.job.id for status in statuses]


def creations(harness: Harness, *volumes: str) -> list[NewJob]:
    return [harness.new("create_volume", volume=volume) for volume in volumes]
