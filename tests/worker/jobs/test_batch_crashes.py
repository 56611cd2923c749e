"""Batches whose front ends and workers crash between any two steps: all or nothing, and no member done twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.worker.counted_calls import CountedBackend, CountedScripts
from tests.worker.harness import PREFIX, Harness, Node
from worker.jobs.batches import Batches
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.jobs.service import NewJob
from worker.store.results import ClaimResult, SubmitOutcome


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


def _creations(harness: Harness, count: int) -> list[NewJob]:
    return [harness.new("create_volume", volume=f"v{number}") for number in range(count)]


class Crash(BaseException):
    """The process was killed."""


class Points:
    """Counts the points that a run passes, and crashes at one of them, or at random ones."""

    def __init__(self, crash_at: int | None = None, *, chance: float = 0.0, seed: int = 0) -> None:
        self.passed: list[str] = []
        self._crash_at = crash_at
        self._chance = chance
        self._random = random.Random(seed)

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) - 1 == self._crash_at or self._random.random() < self._chance:
            raise Crash(name)


def _front_end(harness: Harness, points: Callable[[str], None]) -> Batches:
    """A front end that may crash between its steps."""
    scripts: Any = CountedScripts(harness.scripts, points)
    publisher: Any = harness.publisher
    return Batches(harness.client, scripts, harness.jobs, harness.jobs.ids, publisher, harness.settings)


def _worker(harness: Harness, points: Callable[[str], None]) -> Node:
    """A worker that may crash between its steps."""
    backend: Any = CountedBackend(harness.backend, points)
    return harness.node(backend, CountedScripts(harness.scripts, points))


def test_a_worker_discards_nothing_of_a_batch_that_a_front_end_prepares(harness: Harness):
    preparing = f"{PREFIX}batches_preparing"
    seen: list[int] = []

    def look(_point: str) -> None:
        """The maintenance loop looks, five seconds after the last step."""
        under_way: Any = harness.client.zrange(preparing, 0, -1)
        for batch_id in under_way:
            harness.client.zadd(preparing, {batch_id: (harness.client.time()[0] - 5) * 1000})
        seen.append(harness.client.zcard(preparing))
        harness.batches.discard_abandoned()

    outcome, batch_id, _ = _front_end(harness, look).accept(harness.new_batch(_creations(harness, 120)))
    assert outcome is SubmitOutcome.NEW
    assert len(harness.members(batch_id)) == 120
    assert max(seen) == 1


def _maintain(harness: Harness) -> None:
    """Time passes, and a worker looks after batches that were left."""
    preparing: Any = harness.client.zrange(f"{PREFIX}batches_preparing", 0, -1)
    for batch_id in preparing:
        harness.client.zadd(f"{PREFIX}batches_preparing", {batch_id: (harness.client.time()[0] - 15) * 1000})
    harness.batches.discard_abandoned()
    harness.batches.advance_all()


def _remaining_keys(harness: Harness) -> set[str]:
    keys: Any = harness.client.keys(f"{PREFIX}*")
    kept = ("seq", "metrics", "idem:", "event_", "oom_probe", "index_last_end")
    return {key.decode() for key in keys if not key.decode().removeprefix(PREFIX).startswith(kept)}


def test_a_crash_of_the_front_end_leaves_a_whole_batch_or_none(harness: Harness, node: Node):
    points = Points()
    members = _creations(harness, 120)
    _front_end(harness, points).accept(harness.new_batch(members))
    assert [name for name in points.passed if name.startswith("before")] == [
        "before prepare_members", "before prepare_members", "before prepare_members", "before commit_batch",
    ]  # fmt: skip
    for crash_at, name in enumerate(points.passed):
        harness.client.flushdb()
        with pytest.raises(Crash):
            _front_end(harness, Points(crash_at)).accept(harness.new_batch(members, key="k"))
        accepted, _ = harness.jobs.find(JobFilter(operations=("batch",)), JobScope("ann"), 10)
        statuses, _ = harness.jobs.find(JobFilter(operations=("create_volume",)), JobScope("ann"), 1000)
        assert (len(accepted), len(statuses)) == ((1, 120) if name == "after commit_batch" else (0, 0)), name
        _maintain(harness)
        if not accepted:
            assert not _remaining_keys(harness), name
        again = harness.accept_batch(*members, key="k")
        assert not accepted or again == accepted[0].job.id
        statuses, _ = harness.jobs.find(JobFilter(operations=("create_volume",)), JobScope("ann"), 1000)
        assert len(statuses) == 120, name


def test_a_prepared_batch_blocks_other_jobs_until_it_is_discarded(harness: Harness, node: Node):
    by_path = harness.new("update_volume", volume="node:/path", percentage_snapshot_reserve=1)
    members = [by_path, *[harness.new("create_snapshot", volume="vol", name=f"s{number}") for number in range(60)]]
    with pytest.raises(Crash):
        _front_end(harness, Points(1)).accept(harness.new_batch(members))
    # One is behind the snapshots, the other behind the path, which may lead to its volume.
    later = [harness.accept("create_snapshot", volume=volume, name="later") for volume in ("vol", "out")]
    assert [node.claims.claim(job_id) for job_id in later] == [ClaimResult.BLOCKED] * 2
    harness.publisher.take()
    _maintain(harness)
    assert set(later) <= {message.job_id for message in harness.publisher.take()}
    for job_id in later:
        node.carry_out(job_id)
    assert harness.job(later[0]).state is State.SUCCEEDED


def test_a_job_accepted_while_a_batch_is_prepared_is_none_of_its_members(harness: Harness):
    others: list[str] = []

    def meanwhile(name: str) -> None:
        if name == "after prepare_members":
            others.append(harness.jobs.accept(replace(harness.new("create_snapshot"), volume="vol"))[1])

    members = [replace(new, volume="vol") for new in _creations(harness, 60)]
    _, batch_id, _ = _front_end(harness, meanwhile).accept(harness.new_batch(members))
    member_ids = [job.id for job in harness.members(batch_id)]
    assert len(others) == 2
    assert harness.job(member_ids[0]).seq < harness.job(others[0]).seq < harness.job(member_ids[-1]).seq
    for volume in ("", "vol"):
        statuses, _ = harness.jobs.find(JobFilter(batch=batch_id, volume=volume), JobScope("ann"), 100)
        assert [status.job.id for status in statuses] == member_ids[::-1]


def test_a_batch_that_was_accepted_meanwhile_is_not_discarded(harness: Harness):
    batch_id = harness.accept_batch(*_creations(harness, 3))
    harness.client.zadd(f"{PREFIX}batches_preparing", {batch_id: 1})
    harness.batches.discard_abandoned()
    assert len(harness.members(batch_id)) == 3
    assert not harness.client.exists(f"{PREFIX}batches_preparing")


def test_a_batch_that_took_too_long_to_prepare_is_not_accepted(harness: Harness):
    def maintain(name: str) -> None:
        if name == "before commit_batch":
            _maintain(harness)

    outcome, _, _ = _front_end(harness, maintain).accept(harness.new_batch(_creations(harness, 3)))
    assert outcome is SubmitOutcome.CHANGED
    assert not _remaining_keys(harness)


@pytest.mark.parametrize(
    ("request_hash", "expected"), [("hash", SubmitOutcome.REPLAYED), ("other", SubmitOutcome.REUSED)]
)
def test_a_batch_whose_key_was_used_meanwhile_leaves_no_keys(
    harness: Harness, request_hash: str, expected: SubmitOutcome
):
    new, first, before = harness.new_batch(_creations(harness, 20), key="k"), [], set()

    def accept_meanwhile(name: str) -> None:
        if name == "before prepare_members":
            first.append(harness.batches.accept(new)[1])
            before.update(_remaining_keys(harness))

    outcome, batch_id, _ = _front_end(harness, accept_meanwhile).accept(replace(new, request_hash=request_hash))
    assert (outcome, batch_id) == (expected, first[0])
    assert _remaining_keys(harness) == before


def test_a_crash_at_any_point_of_a_batch_loses_and_repeats_nothing(redis_client: Any, tmp_path: Path, prepared: Path):
    def carry_out_batch(harness: Harness, points: Points) -> str:
        members = [*_creations(harness, 2), harness.new("create_volume", volume="vol"), harness.new("delete_snapshot")]
        batch_id = harness.accept_batch(*members, parallel=2)
        with suppress(Crash):
            _worker(harness, points).consume()
            _worker(harness, points).consume()
        harness.publisher.take()
        return batch_id

    points = Points()
    harness = Harness(redis_client, tmp_path / "0", prepared)
    carry_out_batch(harness, points)
    assert len(points.passed) > 30
    for crash_at, name in enumerate(points.passed):
        harness.close()
        redis_client.flushdb()
        harness = Harness(redis_client, tmp_path / str(crash_at + 1), prepared)
        batch_id = carry_out_batch(harness, Points(crash_at))
        harness.recover(harness.node(), batch_id, turns=30)
        assert harness.job(batch_id).done, name
        for job in harness.members(batch_id):
            made = harness.effects().get(job.id, False)
            assert made == (job.state is State.SUCCEEDED), (name, job)
        assert not harness.leftovers(), name
    harness.close()


def test_many_batches_with_crashes_are_complete_and_in_order(redis_client: Any, tmp_path: Path, prepared: Path):
    harness = Harness(redis_client, tmp_path / "many", prepared)
    submitted = 0
    for number in range(20):
        members = [
            harness.new("create_snapshot", volume=f"v{(number + place) % 7}", name=f"b{number}-{place}")
            if number else harness.new("create_volume", volume=f"v{place}")
            for place in range(7)
        ]  # fmt: skip
        with suppress(Crash):
            points = Points(chance=0.1 if number else 0.0, seed=number)
            _front_end(harness, points).accept(harness.new_batch(members, parallel=1 + number % 4))
        submitted += 1
    _maintain(harness)
    statuses, _ = harness.jobs.find(JobFilter(operations=("batch",)), JobScope("ann"), 100)
    batches = [status.job.id for status in statuses]
    assert 5 < len(batches) <= submitted
    assert all(len(harness.members(batch_id)) == 7 for batch_id in batches)
    for turn in range(400):
        if all(harness.job(batch_id).done for batch_id in batches):
            break
        with suppress(Crash):
            _worker(harness, Points(chance=0.02, seed=1000 + turn)).consume()
        harness.let_time_pass()
        harness.node().sweep()
        _maintain(harness)
    jobs = [job for batch_id in batches for job in harness.members(batch_id)]
    effects = harness.effects()
    for job in jobs:
        assert job.done
        assert effects.get(job.id, False) == (job.state is State.SUCCEEDED), job
    for volume in {job.arguments["volume"] for job in jobs}:
        started = [job for job in jobs if job.arguments["volume"] == volume and job.started_ms]
        started.sort(key=lambda job: job.seq)
        assert len(started) > 2
        assert [job.finished_ms for job in started] == sorted(job.finished_ms or 0 for job in started)
    assert not harness.leftovers()
    harness.close()


# --- members whose worker returns them to their queue while their batch stops


def test_a_member_that_a_draining_worker_returns_after_its_batch_was_stopped_is_cancelled(harness: Harness, node: Node):
    members = [harness.new("create_volume", volume="vol"), *_creations(harness, 2)]
    batch_id = harness.accept_batch(*members, parallel=2, stop=True)
    failing, running, _ = harness.members(batch_id)
    lease = node.claim(running.id)
    node.carry_out(failing.id)
    harness.batches.advance(batch_id)
    assert [job.state.value for job in harness.members(batch_id)] == ["failed", "running", "cancelled"]
    node.drain.set()
    node.executor.execute(lease)
    assert [job.state.value for job in harness.members(batch_id)] == ["failed", "cancelled", "cancelled"]
    assert harness.job(batch_id).failure.code == "batch-failed"  # type: ignore[union-attr]
    assert harness.job(running.id).cancel_requested_ms is not None
    assert not harness.leftovers()


def test_a_member_that_is_put_off_after_its_batch_was_cancelled_does_not_begin_again(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*_creations(harness, 2), parallel=1)
    lease = node.claim(harness.members(batch_id)[0].id)
    lease.record_intent("create")
    harness.batches.cancel(batch_id, "ann")
    assert [job.state.value for job in harness.members(batch_id)] == ["running", "cancelled"]
    node.claims.requeue(lease, 1, "backend-unavailable")
    assert harness.job(batch_id).state is State.CANCELLED
    first, second = harness.members(batch_id)
    assert (first.state, second.state) == (State.CANCELLED, State.CANCELLED)
    assert [harness.field(job.id, "cancelled_by") for job in (first, second)] == ["ann", "ann"]
    assert not harness.leftovers()


def test_a_member_that_is_put_off_goes_on_while_its_batch_does(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*_creations(harness, 1))
    (member,) = harness.members(batch_id)
    node.claims.requeue(node.claim(member.id), 0, counts=False)
    assert harness.job(member.id).state is State.QUEUED
    node.carry_out(member.id)
    assert harness.job(batch_id).state is State.SUCCEEDED
