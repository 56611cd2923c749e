"""Batches: accepted as a whole, released a few at a time, stopped, cancelled, and never lost or doubled."""

from __future__ import annotations

import json

import pytest

from storage_backends.journal import InMemoryJournal
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from tests.worker.jobs.batch_runs import children, creations, run, states
from worker.jobs.event_log import BEGINNING, EventLog
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.store.results import CancelResult, ClaimResult


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


def test_all_members_are_stored_and_a_few_are_queued(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, 20), parallel=3)
    batch = harness.job(batch_id)
    assert (batch.state, batch.total, batch.current, batch.subsystem) == (State.QUEUED, 20, 0, SUBSYSTEM)
    assert states(harness, batch_id) == ["queued"] * 20
    assert {job.version for job in (batch, *harness.members(batch_id))} == {1}
    assert batch.attempt == 0
    assert harness.client.zcard(f"{PREFIX}queued:{SUBSYSTEM}.write") == 3
    events = EventLog(harness.client, PREFIX).read(BEGINNING, 50)
    logged = {event.status.job.id for event in events if event.status}
    assert logged == {batch_id, *(job.id for job in harness.members(batch_id)[:3])}
    seqs = [job.seq for job in harness.members(batch_id)]
    assert seqs == sorted(seqs)
    assert batch.seq > seqs[-1]
    statuses, _ = harness.jobs.find(JobFilter(batch=batch_id), JobScope("ann"), 100)
    assert [status.job.seq for status in statuses] == seqs[::-1]
    assert {status.job.batch for status in statuses} == {batch_id}


def test_a_batch_that_is_known_by_its_key_is_not_written_again(harness: Harness):
    batch_id = harness.accept_batch(*creations(harness, 3), key="k")
    numbered = harness.client.get(f"{PREFIX}seq")
    assert harness.accept_batch(*creations(harness, 3), key="k") == batch_id
    assert harness.client.get(f"{PREFIX}seq") == numbered


def test_a_batch_starts_with_its_first_member(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*creations(harness, 2), parallel=2)
    assert harness.job(batch_id).started_ms is None
    first, second = (job.id for job in harness.members(batch_id))
    node.claim(first)
    started = harness.job(batch_id).started_ms
    assert started == harness.job(first).started_ms is not None
    harness.client.hset(f"{PREFIX}job:{batch_id}", "started", 1)
    node.claim(second)
    assert harness.job(batch_id).started_ms == 1


def test_a_batch_succeeds_with_all_members_within_the_parallel_limit(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*creations(harness, 20), parallel=3)
    queue, most = f"{PREFIX}queued:{SUBSYSTEM}.write", 0
    while not harness.job(batch_id).done:
        waiting = [job.id for job in harness.members(batch_id) if harness.field(job.id, "released") and not job.done]
        most = max(most, len(waiting), harness.client.zcard(queue))
        messages = [message for message in harness.publisher.take() if message.operation != "batch"]
        harness.publisher.publish_soon(messages[1:])
        node.carry_out(messages[0].job_id)
    assert most == 3
    batch = harness.job(batch_id)
    assert (batch.state, batch.current, children(harness, batch_id)) == (
        State.SUCCEEDED,
        20,
        {"total": 20, "succeeded": 20},
    )
    assert not harness.leftovers()


def test_a_batch_is_running_from_its_first_member_on(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*creations(harness, 2))
    first, _ = harness.members(batch_id)
    lease = node.claim(first.id)
    batch = harness.job(batch_id)
    assert (batch.state, children(harness, batch_id)) == (State.RUNNING, {"total": 2, "queued": 1, "running": 1})
    version = batch.version
    node.executor.execute(lease)
    assert harness.job(batch_id).version > version
    assert harness.job(batch_id).current == 1


def test_members_keep_the_order_of_their_volume(harness: Harness, node: Node):
    before = harness.accept("create_snapshot", volume="vol", name="before")
    batch_id = harness.accept_batch(
        *[harness.new("create_snapshot", volume="vol", name=f"s{number}") for number in range(4)], parallel=2
    )
    behind = harness.accept("create_snapshot", volume="vol", name="behind")
    members = [job.id for job in harness.members(batch_id)]
    for turn, job_id in enumerate([before, *members, behind]):
        for later in [*members, behind][turn:]:
            assert node.claims.claim(later) is ClaimResult.BLOCKED
        node.carry_out(job_id)
    assert harness.job(batch_id).state is State.SUCCEEDED


def test_a_failed_member_fails_the_batch_and_the_others_continue(harness: Harness, node: Node):
    members = [harness.new("create_volume", volume="vol"), *creations(harness, 3)]
    batch_id = harness.accept_batch(*members, parallel=1)
    run(harness, node, batch_id)
    failure = harness.job(batch_id).failure
    assert failure is not None
    assert (failure.code, failure.detail) == (
        "batch-failed",
        "1 of 4 members did not succeed; the result says what became of each.",
    )
    assert [error["pointer"] for error in failure.errors] == ["/requests/0"]
    assert failure.errors[0]["detail"].startswith("already-exists: ")
    assert states(harness, batch_id) == ["failed", "succeeded", "succeeded", "succeeded"]


def test_a_batch_result_has_results_that_are_too_large_for_a_job(harness: Harness, node: Node):
    """A job shows results of up to 8 KB; the result of a batch has those of its members up to a megabyte."""
    rules = [f"host{number}.example.org" for number in range(600)]
    batch_id = harness.accept_batch(harness.new("create_policy", policy="long", rules=rules))
    run(harness, node, batch_id)
    ((member_id, status),) = harness.batches.members(batch_id)
    assert status is not None
    assert json.loads(status.result) == {"name": "long", "rules": rules}
    alone = harness.jobs.get(member_id)
    assert alone is not None
    assert alone.result == b""


def test_with_stop_a_batch_without_failures_continues(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*creations(harness, 3), parallel=1, stop=True)
    run(harness, node, batch_id)
    assert (harness.job(batch_id).state, states(harness, batch_id)) == (State.SUCCEEDED, ["succeeded"] * 3)


@pytest.mark.parametrize("order", [("clone_volume", "create_policy"), ("create_policy", "clone_volume")])
def test_members_may_have_fields_that_others_do_not_have(harness: Harness, node: Node, order: tuple[str, str]):
    """Only a clone has ordering keys of what it does not change."""
    batch_id = harness.accept_batch(*map(harness.new, order))
    has_field = [bool(harness.field(job.id, "changed")) for job in harness.members(batch_id)]
    assert has_field == [operation == "clone_volume" for operation in order]
    run(harness, node, batch_id)
    assert states(harness, batch_id) == ["succeeded"] * 2


def test_the_first_ten_failures_are_kept(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*[harness.new("create_volume", volume="vol")] * 12, parallel=1)
    run(harness, node, batch_id)
    failure = harness.job(batch_id).failure
    assert failure is not None
    assert [error["pointer"] for error in failure.errors] == [f"/requests/{number}" for number in range(10)]


def test_with_stop_those_that_have_not_begun_are_cancelled(harness: Harness, node: Node):
    members = [harness.new("create_volume", volume="vol"), *creations(harness, 250)]
    batch_id = harness.accept_batch(*members, parallel=4, stop=True)
    first, second, third, fourth, next_one, *_ = harness.members(batch_id)
    running, other = node.claim(second.id), node.claim(fourth.id)
    harness.publisher.take()
    node.carry_out(first.id)
    assert (batch_id, "batch") in [(message.job_id, message.operation) for message in harness.publisher.take()]
    node.executor.execute(other)
    assert harness.field(next_one.id, "released") == ""
    assert node.claims.claim(third.id) is ClaimResult.BLOCKED
    harness.batches.advance(batch_id)
    assert not harness.job(batch_id).done
    assert harness.client.zscore(f"{PREFIX}batches_stopping", batch_id) is None
    node.executor.execute(running)
    assert harness.job(batch_id).failure.code == "batch-failed"  # type: ignore[union-attr]
    assert children(harness, batch_id) == {"total": 251, "failed": 1, "succeeded": 2, "cancelled": 248}
    assert not harness.leftovers()


def test_with_stop_a_member_that_has_begun_continues_after_a_retry_delay(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*creations(harness, 1), harness.new("create_volume", volume="vol"), stop=True)
    begun, failing = harness.members(batch_id)
    node.claims.requeue(node.claim(begun.id), 0, "retrying")
    node.carry_out(failing.id)
    harness.batches.advance(batch_id)
    assert states(harness, batch_id) == ["queued", "failed"]
    node.carry_out(begun.id)
    assert children(harness, batch_id) == {"total": 2, "succeeded": 1, "failed": 1}
    assert harness.job(batch_id).done


@pytest.mark.parametrize("when", ["before its path is resolved", "while it waits for its volume"])
def test_with_stop_a_member_waiting_for_its_volume_has_not_begun(harness: Harness, node: Node, when: str):
    holder = node.claim(harness.accept("create_snapshot", volume="vol", name="first"))
    failing, by_path = harness.new("create_volume", volume="vol2"), harness.new("update_volume")
    harness.backend.create_volume("vol2", journal=InMemoryJournal())
    batch_id = harness.accept_batch(failing, by_path, stop=True)
    first, second = harness.members(batch_id)
    lease = node.claim(second.id)
    if when == "while it waits for its volume":
        assert node.executor.execute(lease) is None
        assert (harness.job(second.id).attempt, harness.job(second.id).state) == (0, State.QUEUED)
    node.carry_out(first.id)
    harness.batches.advance(batch_id)
    if when == "before its path is resolved":
        node.executor.execute(lease)
    assert states(harness, batch_id) == ["failed", "cancelled"]
    assert harness.job(second.id).cancel_requested_ms is not None
    assert harness.job(batch_id).done
    node.executor.execute(holder)
    assert not harness.leftovers()


def test_a_partly_stopped_batch_is_stopped_by_the_maintenance_loop(harness: Harness, node: Node):
    batch_id = harness.accept_batch(
        harness.new("create_volume", volume="vol"), *creations(harness, 150), parallel=1, stop=True
    )
    node.carry_out(harness.members(batch_id)[0].id)
    harness.scripts.advance_batch(batch_id, 10, 1000)
    assert children(harness, batch_id)["cancelled"] == 9
    waiting = JobFilter(batch=batch_id, states=(State.QUEUED,))
    assert len(harness.jobs.find(waiting, JobScope("ann"), 200)[0]) == 141
    harness.batches.advance_all()
    assert harness.job(batch_id).done
    assert not harness.leftovers()


def test_a_batch_that_was_stopped_by_a_failure_can_be_cancelled_as_well(harness: Harness, node: Node):
    members = [harness.new("create_volume", volume="vol"), *creations(harness, 3)]
    batch_id = harness.accept_batch(*members, parallel=2, stop=True)
    failing, running, *_ = harness.members(batch_id)
    node.claim(running.id)
    node.carry_out(failing.id)
    harness.batches.advance(batch_id)
    assert states(harness, batch_id) == ["failed", "running", "cancelled", "cancelled"]
    harness.batches.cancel(batch_id, "ann")
    assert states(harness, batch_id) == ["failed", "cancelling", "cancelled", "cancelled"]


def test_a_second_request_to_cancel_changes_nothing(harness: Harness, node: Node):
    batch_id, single = harness.accept_batch(*creations(harness, 2)), harness.accept("create_volume", volume="single")
    for running in (harness.members(batch_id)[0].id, single):
        node.claim(running)
    for job_id, cancel in ((batch_id, harness.batches.cancel), (single, harness.jobs.cancel)):
        assert cancel(job_id, "ann") is CancelResult.CANCELLING
        first = harness.job(job_id)
        assert cancel(job_id, "bob") is CancelResult.CANCELLING
        assert harness.job(job_id) == first
