"""Batches that are cancelled, put off, repeated or refused, and what is left of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage_backends.errors import BackendUnavailable
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from tests.worker.jobs.batch_runs import children, creations, run, states
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.store.results import CancelResult, ClaimResult, SubmitOutcome


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


def test_cancelling_a_batch_cancels_queued_members_and_requests_it_of_running_ones(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*creations(harness, 5), parallel=2)
    running = node.claim(harness.members(batch_id)[0].id)
    assert harness.batches.cancel(batch_id, "ann") is CancelResult.CANCELLING
    assert (harness.job(batch_id).state, states(harness, batch_id)) == (
        State.CANCELLING,
        ["cancelling", *["cancelled"] * 4],
    )
    members = harness.members(batch_id)
    assert [harness.field(job.id, "cancelled_by") for job in members] == ["ann"] * 5
    kept_ms = {int(harness.field(job.id, "expires")) - int(harness.field(job.id, "finished")) for job in members[1:]}
    assert kept_ms == {harness.settings.job_keep * 1000}
    statuses, _ = harness.jobs.find(JobFilter(states=(State.CANCELLING,)), JobScope("ann"), 10)
    assert [status.job.id for status in statuses] == [batch_id, members[0].id]
    running.cancel()
    node.executor.execute(running)
    assert (harness.job(batch_id).state, states(harness, batch_id)) == (State.CANCELLED, ["cancelled"] * 5)
    assert harness.batches.cancel(batch_id, "ann") is CancelResult.TOO_LATE


def test_a_batch_that_has_not_begun_is_cancelled_at_once(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, 250))
    harness.batches.cancel(batch_id, "ann")
    assert harness.job(batch_id).state is State.CANCELLED
    assert not harness.leftovers()


def test_jobs_behind_cancelled_members_are_published(harness: Harness):
    volumes = ("vol", "out")
    batch_id = harness.accept_batch(*[harness.new("create_snapshot", volume=volume, name="x") for volume in volumes])
    behind = [harness.accept("create_snapshot", volume=volume, name="y") for volume in volumes]
    harness.publisher.take()
    harness.batches.cancel(batch_id, "ann")
    published = [message.job_id for message in harness.publisher.take()]
    assert [job_id for job_id in published if job_id in behind] == behind


def test_a_half_cancelled_batch_is_completed_by_the_maintenance_loop(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, 3))
    assert harness.jobs.cancel(batch_id, "ann") is CancelResult.CANCELLING
    harness.batches.advance_all()
    assert harness.job(batch_id).state is State.CANCELLED


def test_cancelling_one_member_releases_the_next(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*creations(harness, 4), parallel=1)
    first, second, third, fourth = harness.members(batch_id)
    harness.jobs.cancel(second.id, "ann")
    # A batch begins with the first of its members that does.
    assert (harness.job(batch_id).state, harness.job(batch_id).started_ms) == (State.QUEUED, None)
    harness.jobs.cancel(first.id, "ann")
    assert node.claims.claim(fourth.id) is ClaimResult.BLOCKED
    node.carry_out(third.id)
    node.carry_out(fourth.id)
    assert harness.job(batch_id).failure.code == "batch-failed"  # type: ignore[union-attr]
    assert states(harness, batch_id) == ["cancelled", "cancelled", "succeeded", "succeeded"]


def test_a_member_that_is_put_off_keeps_its_place(harness: Harness):
    class Away:
        def __getattr__(self, name: str) -> Any:
            def call(*_: Any, **__: Any) -> Any:
                raise BackendUnavailable("away")

            return call if name != "close" else harness.backend.close

    batch_id = harness.accept_batch(*creations(harness, 3), parallel=1)
    first, second, _ = harness.members(batch_id)
    harness.node(Away()).carry_out(first.id)  # type: ignore[arg-type]
    assert children(harness, batch_id) == {"total": 3, "queued": 3}
    assert harness.node().claims.claim(second.id) is ClaimResult.BLOCKED
    run(harness, harness.node(), batch_id)
    assert harness.job(batch_id).state is State.SUCCEEDED


def test_the_same_key_makes_no_second_batch(harness: Harness):
    members = creations(harness, 3)
    first = harness.accept_batch(*members, key="k")
    outcome, again, _ = harness.batches.accept(harness.new_batch(members, key="k"))
    assert (outcome, again) == (SubmitOutcome.REPLAYED, first)
    assert harness.client.zcard(f"{PREFIX}due:{SUBSYSTEM}") == 3
    other = harness.jobs.accept(harness.new("create_lock", volume="vol", host="h", key="other"))
    assert other[0] is SubmitOutcome.NEW


def test_a_full_queue_refuses_a_batch_and_stores_nothing(harness: Harness):
    for number in range(harness.settings.user_queue_limit):
        harness.accept("create_lock", volume="vol", host=f"h{number}")
    before = set(harness.client.keys(f"{PREFIX}job:*"))
    outcome, _, _ = harness.batches.accept(harness.new_batch(creations(harness, 3)))
    assert outcome is SubmitOutcome.SHARE_FULL
    assert harness.jobs.find(JobFilter(operations=("batch",)), JobScope("ann"), 10) == ([], None)
    assert harness.jobs.find(JobFilter(operations=("create_volume",)), JobScope("ann"), 10) == ([], None)
    assert set(harness.client.keys(f"{PREFIX}job:*")) == before
    assert not harness.client.keys(f"{PREFIX}members:*")
    # Only the queues of members that would enter them at once must have free places.
    elsewhere = replace(harness.new("create_volume"), subsystem="other")
    members = [elsewhere, *creations(harness, 1)]
    outcomes = [harness.batches.accept(harness.new_batch(members, parallel=parallel))[0] for parallel in (2, 1)]
    assert outcomes == [SubmitOutcome.SHARE_FULL, SubmitOutcome.NEW]
    for subsystem in ("filer", "other"):
        job_filter = JobFilter(operations=("create_volume",), subsystem=subsystem)
        statuses, _ = harness.jobs.find(job_filter, JobScope("ann"), 10)
        assert [status.job.subsystem for status in statuses] == [subsystem]


def test_a_batch_needs_free_places_in_each_of_its_queues(harness: Harness):
    harness.client.zadd(f"{PREFIX}queued:other.write", {str(number): number for number in range(1000)})
    assert harness.settings.queue_limit == 1000
    members = [*creations(harness, 1), replace(harness.new("create_volume"), subsystem="other")]
    for ordered in (members, members[::-1]):
        assert harness.batches.accept(harness.new_batch(ordered))[0] is SubmitOutcome.FULL


def test_a_purged_batch_leaves_no_keys(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*creations(harness, 12), key="k")
    run(harness, node, batch_id)
    finished: Any = harness.client.zrange(f"{PREFIX}expiring", 0, -1)
    harness.client.zadd(f"{PREFIX}expiring", dict.fromkeys(finished, 1))
    assert harness.scripts.purge_expired(500) == 13
    kinds = ("job:", "index", "members:", "result:", "expiring")
    keys: Any = harness.client.keys(f"{PREFIX}*")
    assert not [key for key in keys if key.decode().removeprefix(PREFIX).startswith(kinds)]


def test_members_in_two_chunks_of_the_index_are_found(harness: Harness, node: Node):
    harness.client.set(f"{PREFIX}seq", 8192 - 7)
    policies = [harness.new("create_policy", policy=f"p{number}", rules=[]) for number in range(14)]
    mixed = [
        status
        for pair in zip(creations(harness, 28)[::2], policies, creations(harness, 28)[1::2], strict=True)
        for status in pair
    ]
    batch_id = harness.accept_batch(*mixed)
    for job_filter in (
        JobFilter(batch=batch_id),
        JobFilter(batch=batch_id, operations=("create_policy",)),
        JobFilter(states=(State.QUEUED,), batch=batch_id),
    ):
        statuses, _ = harness.jobs.find(job_filter, JobScope("ann"), 100)
        expected = [job.id for job in harness.members(batch_id) if job_filter.matches(job)]
        assert [status.job.id for status in statuses] == expected[::-1]
        assert len(expected) >= 14
    run(harness, node, batch_id)
    statuses, _ = harness.jobs.find(JobFilter(states=(State.SUCCEEDED,), batch=batch_id), JobScope("ann"), 100)
    assert len(statuses) == 42
