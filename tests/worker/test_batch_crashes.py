"""Batches whose front ends and workers crash between any two steps: whole or not there, and no member done twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.worker.bench import PREFIX, Bench, CountedBackend, CountedScripts, Node
from worker.jobs.batches import Batches
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.jobs.service import NewJob
from worker.store.results import ClaimResult, SubmitOutcome


@pytest.fixture
def node(bench: Bench) -> Node:
    return bench.node()


def _creations(bench: Bench, count: int) -> list[NewJob]:
    return [bench.new("create_volume", volume=f"v{number}") for number in range(count)]


class Crash(BaseException):
    """The process is gone."""


class Points:
    """Counts the points that a life passes, and crashes at one of them, or at some by chance."""

    def __init__(self, crash_at: int | None = None, *, chance: float = 0.0, seed: int = 0) -> None:
        self.passed: list[str] = []
        self._crash_at = crash_at
        self._chance = chance
        self._random = random.Random(seed)

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) - 1 == self._crash_at or self._random.random() < self._chance:
            raise Crash(name)


def _front_end(bench: Bench, points: Callable[[str], None]) -> Batches:
    """A front end that may crash between its steps."""
    scripts: Any = CountedScripts(bench.scripts, points)
    publisher: Any = bench.publisher
    return Batches(bench.client, scripts, bench.jobs, bench.jobs.ids, publisher, bench.settings)


def _worker(bench: Bench, points: Callable[[str], None]) -> Node:
    """A worker that may crash between its steps."""
    backend: Any = CountedBackend(bench.backend, points)
    return bench.node(backend, CountedScripts(bench.scripts, points))


def test_a_worker_discards_nothing_of_a_batch_that_a_front_end_prepares(bench: Bench):
    preparing = f"{PREFIX}batches_preparing"
    seen: list[int] = []

    def look(_point: str) -> None:
        """The maintenance loop looks, five seconds after the last step."""
        under_way: Any = bench.client.zrange(preparing, 0, -1)
        for batch_id in under_way:
            bench.client.zadd(preparing, {batch_id: (bench.client.time()[0] - 5) * 1000})
        seen.append(bench.client.zcard(preparing))
        bench.batches.discard_abandoned()

    outcome, batch_id, _ = _front_end(bench, look).accept(bench.new_batch(_creations(bench, 120)))
    assert outcome is SubmitOutcome.NEW
    assert len(bench.members(batch_id)) == 120
    assert max(seen) == 1


def _tidy(bench: Bench) -> None:
    """Time passes, and a worker looks after batches that were left."""
    preparing: Any = bench.client.zrange(f"{PREFIX}batches_preparing", 0, -1)
    for batch_id in preparing:
        bench.client.zadd(f"{PREFIX}batches_preparing", {batch_id: 1})
    bench.batches.discard_abandoned()
    bench.batches.advance_all()


def _left_of(bench: Bench) -> set[str]:
    keys: Any = bench.client.keys(f"{PREFIX}*")
    kept = ("seq", "metrics", "idem:", "event_", "oom_probe", "index_last_end")
    return {key.decode() for key in keys if not key.decode().removeprefix(PREFIX).startswith(kept)}


def test_a_front_end_that_crashes_while_it_accepts_leaves_all_or_nothing(bench: Bench, node: Node):
    points = Points()
    members = _creations(bench, 120)
    _front_end(bench, points).accept(bench.new_batch(members))
    assert [name for name in points.passed if name.startswith("before")] == [
        "before prepare_members", "before prepare_members", "before prepare_members", "before commit_batch",
    ]  # fmt: skip
    for crash_at, name in enumerate(points.passed):
        bench.client.flushdb()
        with pytest.raises(Crash):
            _front_end(bench, Points(crash_at)).accept(bench.new_batch(members, key="k"))
        accepted, _ = bench.jobs.find(JobFilter(operations=("batch",)), JobScope("ann"), 10)
        statuses, _ = bench.jobs.find(JobFilter(operations=("create_volume",)), JobScope("ann"), 1000)
        assert (len(accepted), len(statuses)) == ((1, 120) if name == "after commit_batch" else (0, 0)), name
        _tidy(bench)
        if not accepted:
            assert not _left_of(bench), name
        again = bench.accept_batch(*members, key="k")
        assert not accepted or again == accepted[0].job.id
        statuses, _ = bench.jobs.find(JobFilter(operations=("create_volume",)), JobScope("ann"), 1000)
        assert len(statuses) == 120, name


def test_what_is_prepared_holds_others_back_only_until_it_is_taken_back(bench: Bench, node: Node):
    by_path = bench.new("update_volume", volume="node:/path", percentage_snapshot_reserve=1)
    members = [by_path, *[bench.new("create_snapshot", volume="vol", name=f"s{number}") for number in range(60)]]
    with pytest.raises(Crash):
        _front_end(bench, Points(1)).accept(bench.new_batch(members))
    # One is behind the snapshots, the other behind the path, which may lead to its volume.
    later = [bench.accept("create_snapshot", volume=volume, name="later") for volume in ("vol", "out")]
    assert [node.claims.claim(job_id) for job_id in later] == [ClaimResult.BLOCKED] * 2
    bench.publisher.take()
    _tidy(bench)
    assert set(later) <= {message.job_id for message in bench.publisher.take()}
    for job_id in later:
        node.carry_out(job_id)
    assert bench.job(later[0]).state is State.SUCCEEDED


def test_a_job_accepted_while_a_batch_is_prepared_is_none_of_its_members(bench: Bench):
    others: list[str] = []

    def meanwhile(name: str) -> None:
        if name == "after prepare_members":
            others.append(bench.jobs.accept(replace(bench.new("create_snapshot"), volume="vol"))[1])

    members = [replace(new, volume="vol") for new in _creations(bench, 60)]
    _, batch_id, _ = _front_end(bench, meanwhile).accept(bench.new_batch(members))
    member_ids = [job.id for job in bench.members(batch_id)]
    assert len(others) == 2
    assert bench.job(member_ids[0]).seq < bench.job(others[0]).seq < bench.job(member_ids[-1]).seq
    for volume in ("", "vol"):
        statuses, _ = bench.jobs.find(JobFilter(batch=batch_id, volume=volume), JobScope("ann"), 100)
        assert [status.job.id for status in statuses] == member_ids[::-1]


def test_a_batch_that_was_accepted_meanwhile_is_not_discarded(bench: Bench):
    batch_id = bench.accept_batch(*_creations(bench, 3))
    bench.client.zadd(f"{PREFIX}batches_preparing", {batch_id: 1})
    bench.batches.discard_abandoned()
    assert len(bench.members(batch_id)) == 3
    assert not bench.client.exists(f"{PREFIX}batches_preparing")


def test_a_batch_that_took_too_long_to_prepare_is_not_accepted(bench: Bench):
    def tidy(name: str) -> None:
        if name == "before commit_batch":
            _tidy(bench)

    outcome, _, _ = _front_end(bench, tidy).accept(bench.new_batch(_creations(bench, 3)))
    assert outcome is SubmitOutcome.CHANGED
    assert not _left_of(bench)


def test_a_crash_anywhere_in_the_life_of_a_batch_loses_and_doubles_nothing(
    redis_client: Any, tmp_path: Path, prepared: Path
):
    def live(bench: Bench, points: Points) -> str:
        members = [*_creations(bench, 2), bench.new("create_volume", volume="vol"), bench.new("delete_snapshot")]
        batch_id = bench.accept_batch(*members, parallel=2)
        with suppress(Crash):
            _worker(bench, points).consume()
            _worker(bench, points).consume()
        bench.publisher.take()
        return batch_id

    points = Points()
    bench = Bench(redis_client, tmp_path / "0", prepared)
    live(bench, points)
    assert len(points.passed) > 30
    for crash_at, name in enumerate(points.passed):
        bench.close()
        redis_client.flushdb()
        bench = Bench(redis_client, tmp_path / str(crash_at + 1), prepared)
        batch_id = live(bench, Points(crash_at))
        bench.recover(bench.node(), batch_id, turns=30)
        assert bench.job(batch_id).done, name
        for job in bench.members(batch_id):
            made = bench.effects().get(job.id, False)
            assert made == (job.state is State.SUCCEEDED), (name, job)
        assert not bench.leftovers(), name
    bench.close()


def test_many_batches_under_many_crashes_are_whole_and_keep_the_order_of_volumes(
    redis_client: Any, tmp_path: Path, prepared: Path
):
    bench = Bench(redis_client, tmp_path / "many", prepared)
    submitted = 0
    for number in range(20):
        members = [
            bench.new("create_snapshot", volume=f"v{(number + place) % 7}", name=f"b{number}-{place}")
            if number else bench.new("create_volume", volume=f"v{place}")
            for place in range(7)
        ]  # fmt: skip
        with suppress(Crash):
            points = Points(chance=0.1 if number else 0.0, seed=number)
            _front_end(bench, points).accept(bench.new_batch(members, parallel=1 + number % 4))
        submitted += 1
    _tidy(bench)
    statuses, _ = bench.jobs.find(JobFilter(operations=("batch",)), JobScope("ann"), 100)
    batches = [status.job.id for status in statuses]
    assert 5 < len(batches) <= submitted
    assert all(len(bench.members(batch_id)) == 7 for batch_id in batches)
    for turn in range(400):
        if all(bench.job(batch_id).done for batch_id in batches):
            break
        with suppress(Crash):
            _worker(bench, Points(chance=0.02, seed=1000 + turn)).consume()
        bench.let_time_pass()
        bench.node().sweep()
        _tidy(bench)
    jobs = [job for batch_id in batches for job in bench.members(batch_id)]
    effects = bench.effects()
    for job in jobs:
        assert job.done
        assert effects.get(job.id, False) == (job.state is State.SUCCEEDED), job
    for volume in {job.arguments["volume"] for job in jobs}:
        started = [job for job in jobs if job.arguments["volume"] == volume and job.started_ms]
        started.sort(key=lambda job: job.seq)
        assert len(started) > 2
        assert [job.finished_ms for job in started] == sorted(job.finished_ms or 0 for job in started)
    assert not bench.leftovers()
    bench.close()
