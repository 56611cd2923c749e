"""Batches: accepted as a whole, released a few at a time, stopped, cancelled, and never lost or doubled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage_backends.errors import BackendUnavailable
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from worker.jobs.event_log import BEGINNING, EventLog
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State
from worker.jobs.service import NewJob
from worker.store.results import CancelResult, ClaimResult, SubmitOutcome


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


def _creations(harness: Harness, count: int) -> list[NewJob]:
    """Members that succeed, each on a volume of its own."""
    return [harness.new("create_volume", volume=f"v{number}") for number in range(count)]


def _run(harness: Harness, node: Node, batch_id: str, turns: int = 200) -> None:
    for _ in range(turns):
        if harness.job(batch_id).done:
            return
        node.consume()
        harness.let_time_pass()
        node.sweep()
        harness.batches.advance_all()
    raise AssertionError(harness.job(batch_id))


def _states(harness: Harness, batch_id: str) -> list[str]:
    return [job.state.value for job in harness.members(batch_id)]


def _children(harness: Harness, batch_id: str) -> dict[str, int]:
    children = harness.job(batch_id).children
    assert children is not None
    return {name: count for name, count in children.items() if count}


def test_all_members_are_there_and_a_few_of_them_in_the_queues(harness: Harness):
    batch_id = harness.accept_batch(*_creations(harness, 20), parallel=3)
    batch = harness.job(batch_id)
    assert (batch.state, batch.total, batch.current, batch.subsystem) == (State.QUEUED, 20, 0, SUBSYSTEM)
    assert _states(harness, batch_id) == ["queued"] * 20
    assert {job.version for job in (batch, *harness.members(batch_id))} == {1}
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


def test_it_starts_when_the_first_of_its_members_does(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*_creations(harness, 2), parallel=2)
    assert harness.job(batch_id).started_ms is None
    first, second = (job.id for job in harness.members(batch_id))
    node.claim(first)
    started = harness.job(batch_id).started_ms
    assert started == harness.job(first).started_ms is not None
    harness.client.hset(f"{PREFIX}job:{batch_id}", "started", 1)
    node.claim(second)
    assert harness.job(batch_id).started_ms == 1


def test_it_succeeds_when_all_have_and_never_has_more_in_the_queues(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*_creations(harness, 20), parallel=3)
    queue, most = f"{PREFIX}queued:{SUBSYSTEM}.write", 0
    while not harness.job(batch_id).done:
        waiting = [job.id for job in harness.members(batch_id) if harness.field(job.id, "released") and not job.done]
        most = max(most, len(waiting), harness.client.zcard(queue))
        messages = [message for message in harness.publisher.take() if message.operation != "batch"]
        harness.publisher.publish_soon(messages[1:])
        node.carry_out(messages[0].job_id)
    assert most == 3
    batch = harness.job(batch_id)
    assert (batch.state, batch.current, _children(harness, batch_id)) == (
        State.SUCCEEDED,
        20,
        {"total": 20, "succeeded": 20},
    )
    assert not harness.leftovers()


def test_it_runs_from_its_first_member_on(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*_creations(harness, 2))
    first, _ = harness.members(batch_id)
    lease = node.claim(first.id)
    batch = harness.job(batch_id)
    assert (batch.state, _children(harness, batch_id)) == (State.RUNNING, {"total": 2, "queued": 1, "running": 1})
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


def test_one_that_fails_fails_the_batch_and_the_others_go_on(harness: Harness, node: Node):
    members = [harness.new("create_volume", volume="vol"), *_creations(harness, 3)]
    batch_id = harness.accept_batch(*members, parallel=1)
    _run(harness, node, batch_id)
    failure = harness.job(batch_id).failure
    assert failure is not None
    assert (failure.code, failure.detail) == (
        "batch-failed",
        "1 of 4 members did not succeed; the result says what became of each.",
    )
    assert [error["pointer"] for error in failure.errors] == ["/requests/0"]
    assert failure.errors[0]["detail"].startswith("already-exists: ")
    assert _states(harness, batch_id) == ["failed", "succeeded", "succeeded", "succeeded"]


def test_the_first_ten_failures_are_kept(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*[harness.new("create_volume", volume="vol")] * 12, parallel=1)
    _run(harness, node, batch_id)
    failure = harness.job(batch_id).failure
    assert failure is not None
    assert [error["pointer"] for error in failure.errors] == [f"/requests/{number}" for number in range(10)]


def test_with_stop_those_that_have_not_begun_are_cancelled(harness: Harness, node: Node):
    members = [harness.new("create_volume", volume="vol"), *_creations(harness, 250)]
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
    assert _children(harness, batch_id) == {"total": 251, "failed": 1, "succeeded": 2, "cancelled": 248}
    assert not harness.leftovers()


def test_with_stop_one_that_has_begun_goes_on_after_a_pause(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*_creations(harness, 1), harness.new("create_volume", volume="vol"), stop=True)
    begun, failing = harness.members(batch_id)
    node.claims.requeue(node.claim(begun.id), 0, "retrying")
    node.carry_out(failing.id)
    harness.batches.advance(batch_id)
    assert _states(harness, batch_id) == ["queued", "failed"]
    node.carry_out(begun.id)
    assert _children(harness, batch_id) == {"total": 2, "succeeded": 1, "failed": 1}
    assert harness.job(batch_id).done


def test_what_is_left_half_stopped_is_stopped_by_the_maintenance(harness: Harness, node: Node):
    batch_id = harness.accept_batch(
        harness.new("create_volume", volume="vol"), *_creations(harness, 150), parallel=1, stop=True
    )
    node.carry_out(harness.members(batch_id)[0].id)
    harness.scripts.advance_batch(batch_id, 10, 1000)
    assert _children(harness, batch_id)["cancelled"] == 9
    waiting = JobFilter(batch=batch_id, states=(State.QUEUED,))
    assert len(harness.jobs.find(waiting, JobScope("ann"), 200)[0]) == 141
    harness.batches.advance_all()
    assert harness.job(batch_id).done
    assert not harness.leftovers()


def test_a_batch_that_was_stopped_by_a_failure_can_be_cancelled_as_well(harness: Harness, node: Node):
    members = [harness.new("create_volume", volume="vol"), *_creations(harness, 3)]
    batch_id = harness.accept_batch(*members, parallel=2, stop=True)
    failing, running, *_ = harness.members(batch_id)
    node.claim(running.id)
    node.carry_out(failing.id)
    harness.batches.advance(batch_id)
    assert _states(harness, batch_id) == ["failed", "running", "cancelled", "cancelled"]
    harness.batches.cancel(batch_id, "ann")
    assert _states(harness, batch_id) == ["failed", "cancelling", "cancelled", "cancelled"]


def test_one_that_is_being_cancelled_is_not_changed_by_a_further_request(harness: Harness, node: Node):
    batch_id, single = harness.accept_batch(*_creations(harness, 2)), harness.accept("create_volume", volume="single")
    for running in (harness.members(batch_id)[0].id, single):
        node.claim(running)
    for job_id, cancel in ((batch_id, harness.batches.cancel), (single, harness.jobs.cancel)):
        assert cancel(job_id, "ann") is CancelResult.CANCELLING
        first = harness.job(job_id)
        assert cancel(job_id, "bob") is CancelResult.CANCELLING
        assert harness.job(job_id) == first


def test_a_cancelled_batch_cancels_what_waits_and_asks_what_runs(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*_creations(harness, 5), parallel=2)
    running = node.claim(harness.members(batch_id)[0].id)
    assert harness.batches.cancel(batch_id, "ann") is CancelResult.CANCELLING
    assert (harness.job(batch_id).state, _states(harness, batch_id)) == (
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
    assert (harness.job(batch_id).state, _states(harness, batch_id)) == (State.CANCELLED, ["cancelled"] * 5)
    assert harness.batches.cancel(batch_id, "ann") is CancelResult.TOO_LATE


def test_a_batch_nobody_has_begun_is_cancelled_at_once(harness: Harness):
    batch_id = harness.accept_batch(*_creations(harness, 250))
    harness.batches.cancel(batch_id, "ann")
    assert harness.job(batch_id).state is State.CANCELLED
    assert not harness.leftovers()


def test_a_batch_whose_front_end_is_lost_while_it_cancels_is_stopped_by_the_maintenance(harness: Harness):
    batch_id = harness.accept_batch(*_creations(harness, 3))
    assert harness.jobs.cancel(batch_id, "ann") is CancelResult.CANCELLING
    harness.batches.advance_all()
    assert harness.job(batch_id).state is State.CANCELLED


def test_a_member_that_is_cancelled_by_itself_makes_room_for_the_next(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*_creations(harness, 4), parallel=1)
    first, second, third, fourth = harness.members(batch_id)
    harness.jobs.cancel(second.id, "ann")
    harness.jobs.cancel(first.id, "ann")
    assert node.claims.claim(fourth.id) is ClaimResult.BLOCKED
    node.carry_out(third.id)
    node.carry_out(fourth.id)
    assert harness.job(batch_id).failure.code == "batch-failed"  # type: ignore[union-attr]
    assert _states(harness, batch_id) == ["cancelled", "cancelled", "succeeded", "succeeded"]


def test_a_member_that_is_put_off_keeps_its_place(harness: Harness):
    class Away:
        def __getattr__(self, name: str) -> Any:
            def call(*_: Any, **__: Any) -> Any:
                raise BackendUnavailable("away")

            return call if name != "close" else harness.backend.close

    batch_id = harness.accept_batch(*_creations(harness, 3), parallel=1)
    first, second, _ = harness.members(batch_id)
    harness.node(Away()).carry_out(first.id)  # type: ignore[arg-type]
    assert _children(harness, batch_id) == {"total": 3, "queued": 3}
    assert harness.node().claims.claim(second.id) is ClaimResult.BLOCKED
    _run(harness, harness.node(), batch_id)
    assert harness.job(batch_id).state is State.SUCCEEDED


def test_the_same_key_makes_no_second_batch(harness: Harness):
    members = _creations(harness, 3)
    first = harness.accept_batch(*members, key="k")
    outcome, again, _ = harness.batches.accept(harness.new_batch(members, key="k"))
    assert (outcome, again) == (SubmitOutcome.REPLAYED, first)
    assert harness.client.zcard(f"{PREFIX}due:{SUBSYSTEM}") == 3
    other = harness.jobs.accept(harness.new("create_lock", volume="vol", host="h", key="other"))
    assert other[0] is SubmitOutcome.NEW


def test_a_full_queue_takes_no_batch_and_keeps_nothing_of_it(harness: Harness):
    for number in range(harness.settings.user_queue_limit):
        harness.accept("create_lock", volume="vol", host=f"h{number}")
    before = set(harness.client.keys(f"{PREFIX}job:*"))
    outcome, _, _ = harness.batches.accept(harness.new_batch(_creations(harness, 3)))
    assert outcome is SubmitOutcome.SHARE_FULL
    assert harness.jobs.find(JobFilter(operations=("batch",)), JobScope("ann"), 10) == ([], None)
    assert harness.jobs.find(JobFilter(operations=("create_volume",)), JobScope("ann"), 10) == ([], None)
    assert set(harness.client.keys(f"{PREFIX}job:*")) == before
    assert not harness.client.keys(f"{PREFIX}members:*")
    # Only the queues of members that would enter them at once must have room.
    elsewhere = replace(harness.new("create_volume"), subsystem="other")
    members = [elsewhere, *_creations(harness, 1)]
    outcomes = [harness.batches.accept(harness.new_batch(members, parallel=parallel))[0] for parallel in (2, 1)]
    assert outcomes == [SubmitOutcome.SHARE_FULL, SubmitOutcome.NEW]
    for subsystem in ("filer", "other"):
        job_filter = JobFilter(operations=("create_volume",), subsystem=subsystem)
        statuses, _ = harness.jobs.find(job_filter, JobScope("ann"), 10)
        assert [status.job.subsystem for status in statuses] == [subsystem]


def test_a_batch_needs_room_in_each_of_its_queues(harness: Harness):
    harness.client.zadd(f"{PREFIX}queued:other.write", {str(number): number for number in range(1000)})
    assert harness.settings.queue_limit == 1000
    members = [*_creations(harness, 1), replace(harness.new("create_volume"), subsystem="other")]
    for ordered in (members, members[::-1]):
        assert harness.batches.accept(harness.new_batch(ordered))[0] is SubmitOutcome.FULL


def test_what_is_forgotten_leaves_nothing_behind(harness: Harness, node: Node):
    batch_id = harness.accept_batch(*_creations(harness, 12), key="k")
    _run(harness, node, batch_id)
    finished: Any = harness.client.zrange(f"{PREFIX}expiring", 0, -1)
    harness.client.zadd(f"{PREFIX}expiring", dict.fromkeys(finished, 1))
    assert harness.scripts.purge_expired(500) == 13
    kinds = ("job:", "index", "members:", "result:", "expiring")
    keys: Any = harness.client.keys(f"{PREFIX}*")
    assert not [key for key in keys if key.decode().removeprefix(PREFIX).startswith(kinds)]


def test_members_across_a_border_of_the_index_are_found(harness: Harness, node: Node):
    harness.client.set(f"{PREFIX}seq", 8192 - 7)
    policies = [harness.new("create_policy", policy=f"p{number}", rules=[]) for number in range(14)]
    mixed = [
        status
        for pair in zip(_creations(harness, 28)[::2], policies, _creations(harness, 28)[1::2], strict=True)
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
    _run(harness, node, batch_id)
    statuses, _ = harness.jobs.find(JobFilter(states=(State.SUCCEEDED,), batch=batch_id), JobScope("ann"), 100)
    assert len(statuses) == 42
