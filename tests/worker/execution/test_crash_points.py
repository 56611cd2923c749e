"""A crash before and after each Redis write and each filer call, during a job of every operation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from tests.worker.counted_calls import CountedBackend, CountedScripts
from tests.worker.harness import CALLS, Harness, Node
from worker.execution.lease import Lease
from worker.jobs.record import State

#: How many points there were when this was written; a refactoring must not lose any.
LEAST_POINTS = 166


class Crash(BaseException):
    """The process was killed."""


class Points:
    """Counts the points that a run passes, and crashes at one of them."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.passed: list[str] = []
        self._crash_at = crash_at

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if self._crash_at is not None and len(self.passed) == self._crash_at + 1:
            raise Crash(name)


class Runs:
    """Starts runs of the same job, each on an empty Redis."""

    def __init__(self, client: Redis, folder: Path, prepared: Path) -> None:
        self._client = client
        self._folder = folder
        self._prepared = prepared
        self._count = 0

    def begin(self) -> Harness:
        self._count += 1
        self._client.flushdb()
        return Harness(self._client, self._folder / str(self._count), self._prepared)


@pytest.fixture
def runs(redis_client: Redis, tmp_path: Path, prepared: Path) -> Runs:
    return Runs(redis_client, tmp_path, prepared)


def _node(harness: Harness, points: Points) -> Node:
    backend = CountedBackend(harness.backend, points)
    return harness.node(backend, CountedScripts(harness.scripts, points))  # type: ignore[arg-type]


def _run_job(harness: Harness, points: Points, operation: str) -> str:
    """Accept a job and carry it out on a worker that may crash on the way."""
    job_id = harness.accept(operation)
    node = _node(harness, points)
    try:
        lease = node.claims.claim(job_id)
        assert isinstance(lease, Lease)
        node.executor.execute(lease)
    except Crash:
        harness.publisher.take()
    return job_id


def _is_consistent(harness: Harness, job_id: str) -> bool:
    job = harness.job(job_id)
    made = harness.effects().get(job_id, False)
    if not job.operation.is_change:
        return job.state is State.SUCCEEDED
    if job.state is State.SUCCEEDED:
        return made
    return job.state is State.FAILED and job.failure is not None and job.failure.code == "worker-lost" and not made


def test_a_crash_at_any_point_loses_and_repeats_no_job(runs: Runs, record_property: Callable[[str, object], None]):
    count = 0
    for operation in CALLS:
        harness = runs.begin()
        points = Points()
        job_id = _run_job(harness, points, operation)
        assert harness.job(job_id).state is State.SUCCEEDED
        for crash_at, name in enumerate(points.passed):
            harness.close()
            harness = runs.begin()
            job_id = _run_job(harness, Points(crash_at), operation)
            harness.recover(harness.node(), job_id)
            where = f"{operation}: crash {name}"
            assert harness.job(job_id).done, where
            assert _is_consistent(harness, job_id), (where, harness.job(job_id))
            assert not harness.leftovers(), where
            count += 1
        harness.close()
    record_property("crash points", count)
    sys.stdout.write(f"{count} crash points\n")
    assert count >= LEAST_POINTS


@pytest.mark.parametrize("first", ["after record_progress step", "after create_snapshot"])
def test_a_crash_during_reconciliation_loses_and_repeats_no_job(runs: Runs, first: str):
    def lose(points: Points) -> tuple[Harness, str]:
        """A worker is lost at ``first``; another settles, and may crash on the way."""
        harness = runs.begin()
        at = Points()
        job_id = _run_job(harness, at, "create_snapshot")
        harness.close()
        harness = runs.begin()
        job_id = _run_job(harness, Points(at.passed.index(first)), "create_snapshot")
        harness.let_time_pass()
        with suppress(Crash):
            _node(harness, points).sweep()
        return harness, job_id

    points = Points()
    harness, _ = lose(points)
    assert len(points.passed) >= 8
    for crash_at, name in enumerate(points.passed):
        harness.close()
        harness, job_id = lose(Points(crash_at))
        harness.recover(harness.node(), job_id)
        assert harness.job(job_id).done, name
        assert _is_consistent(harness, job_id), (name, harness.job(job_id))
        assert not harness.leftovers(), name
    harness.close()


@pytest.mark.parametrize("word", ["before", "after"])
def test_a_front_end_that_crashes_while_it_accepts_leaves_one_job_or_none(harness: Harness, word: str):
    def crash(name: str) -> None:
        if name == f"{word} submit_job":
            raise Crash(name)

    harness.jobs._scripts = CountedScripts(harness.scripts, crash)  # type: ignore[assignment]
    with pytest.raises(Crash):
        harness.accept("create_volume", key="k")
    assert not harness.publisher.take()
    harness.jobs._scripts = harness.scripts
    job_id = harness.accept("create_volume", key="k")
    harness.publisher.take()
    harness.recover(harness.node(), job_id)
    assert harness.effects() == {job_id: True}
    assert harness.job(job_id).state is State.SUCCEEDED
