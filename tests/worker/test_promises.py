"""What a worker promises when something breaks: who has a job, at what time, and what cannot be carried out."""

from __future__ import annotations

import time
from typing import Any

import pytest

from storage_backends.errors import BackendUnavailable
from storage_backends.journal import LeaseLost, TimedOut
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from tests.worker.redis_clock import redis_now_ms
from worker.execution.claims import Completion
from worker.execution.lease import Lease
from worker.jobs.record import State
from worker.listings.repository import Listings


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


# --- who has a job, and who had it


def test_a_repeated_completion_gets_the_same_answer(harness: Harness, node: Node):
    job_id, behind = harness.accept("update_volume", volume="vol"), harness.accept("restrict_volume", volume="vol")
    lease = node.claim(job_id)
    harness.publisher.take()
    for _ in range(2):
        assert node.claims.complete(lease, Completion(State.SUCCEEDED, result=b"null"))
        assert [message.job_id for message in harness.publisher.take()] == [behind]


def test_a_worker_that_lost_its_lease_changes_neither_the_job_nor_the_filer(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    stale_lease = node.claim(job_id)
    stale_lease.record_intent("create_volume")
    harness.let_time_pass()
    harness.node().sweep()
    assert harness.job(job_id).failure.code == "worker-lost"  # type: ignore[union-attr]
    with pytest.raises(LeaseLost):
        harness.backend.create_volume("new", journal=_IgnoresLoss(stale_lease))
    assert not node.claims.complete(stale_lease, Completion(State.SUCCEEDED, result=b"null"))
    assert harness.job(job_id).state is State.FAILED
    assert harness.effects() == {job_id: False}


class _IgnoresLoss(Lease):
    """The journal of a worker that was frozen after its intent, and no longer checks its lease."""

    def __init__(self, lease: Lease) -> None:
        self.__dict__ = lease.__dict__

    def checkpoint(self) -> None:
        return

    def record_intent(self, step: str, *, steps_done: int | None = None, **facts: str) -> None:
        return


def test_a_lease_counts_from_when_the_claim_was_sent(harness: Harness, node: Node, monkeypatch: pytest.MonkeyPatch):
    job_id = harness.accept("create_volume")
    claim = harness.scripts.claim

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(harness.scripts, name)

        def claim(self, *arguments: Any) -> Any:
            answer = claim(*arguments)
            clock[0] += harness.settings.lease
            return answer

    clock = [1000.0]
    monkeypatch.setattr("worker.execution.claims.time.monotonic", lambda: clock[0])
    lease = harness.node(scripts=Slow()).claim(job_id)
    with pytest.raises(LeaseLost):
        lease.checkpoint()


def test_a_job_is_settled_only_by_the_worker_that_was_given_it(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")
    assert node.reconciler.reconcile(job_id, "settle:somebody-else") is None
    assert harness.job(job_id).state is State.RUNNING


def test_jobs_that_crash_their_workers_fail_after_three_losses(harness: Harness, node: Node):
    job_id = harness.accept("get_volume")
    for _ in range(5):
        node.claims.requeue(node.claim(job_id), 0)
    for _ in range(2):
        node.claim(job_id)
        harness.let_time_pass()
        assert node.sweep() == ([], [])
        assert harness.job(job_id).state is State.QUEUED
    node.claim(job_id)
    harness.let_time_pass()
    assert node.sweep() == ([], [job_id])
    assert harness.job(job_id).failure.code == "worker-lost"  # type: ignore[union-attr]


def test_a_step_and_its_number_are_one_write(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    before = harness.job(job_id).version
    lease.record_intent("mount", steps_done=2, url="PATCH /api")
    job = harness.job(job_id)
    assert (job.step, job.current, job.unit, job.facts) == ("mount", 2, "steps", {"url": "PATCH /api"})
    assert job.version == before + 1


# --- time


def test_after_an_outage_of_redis_no_worker_is_lost_at_once(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    harness.let_time_pass()
    harness.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", "at", "1")
    assert node.sweep() == ([], [])
    node.lease_renewer.renew()
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1})
    assert node.sweep() == ([], [])
    lease.checkpoint()
    # The lease of a job that was handed over is not renewed: no lapse is waited for.
    node.claims.hand_over(lease, "")
    harness.client.hset(f"{PREFIX}last_sweep:{SUBSYSTEM}", "at", "1")
    assert node.sweep() == ([job_id], [])


@pytest.mark.parametrize("back_s", [90, 3600])
def test_a_clock_that_was_set_back_delays_nothing(harness: Harness, node: Node, back_s: int):
    job_id, far = harness.accept("create_volume"), str(redis_now_ms(harness.client) + back_s * 1000)
    node.claim(job_id)
    harness.let_time_pass()
    for name in ("lease", "stalled_since", "deadline"):
        harness.client.hset(f"{PREFIX}job:{job_id}", name, far)
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: float(far)})
    node.sweep()
    due: Any = harness.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert due < redis_now_ms(harness.client) + 60_000
    harness.client.hset(f"{PREFIX}job:{job_id}", mapping={"lease": "1", "stalled_since": "1"})
    harness.client.zadd(f"{PREFIX}due:{SUBSYSTEM}", {job_id: 1})
    node.sweep()
    assert harness.job(job_id).state is State.QUEUED


def test_a_worker_from_before_the_clock_was_set_back_is_not_online(harness: Harness):
    queue, job_id = f"{SUBSYSTEM}.write", harness.accept("create_volume")
    harness.client.zadd(f"{PREFIX}workers:{queue}", {"dead": redis_now_ms(harness.client) + 3_600_000})
    harness.client.hset(f"{PREFIX}slots:{queue}", "dead", 8)
    assert harness.jobs.get(job_id).waiting_reason == "no-worker-online"  # type: ignore[union-attr]
    assert harness.scripts.queue_stats(15_000, queue)[0][3] == []
    harness.scripts.worker_heartbeat("alive", {queue: 2})
    assert harness.client.zrange(f"{PREFIX}workers:{queue}", 0, -1) == [b"alive"]
    assert harness.client.get(f"{PREFIX}capacity:{queue}") == b"2"


def test_a_hanging_thread_is_reported_once_and_loses_its_job(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    lease.limit_at = time.monotonic() - 1000
    node.lease_renewer.renew()
    node.lease_renewer.renew()
    assert node.hung == [lease]
    harness.let_time_pass()
    harness.client.hset(f"{PREFIX}job:{job_id}", mapping={"lease": "5", "deadline": "4"})
    harness.node().sweep()
    assert harness.job(job_id).failure.code == "timed-out"  # type: ignore[union-attr]


# --- what cannot be carried out


def test_reconciliation_is_repeated_until_its_time_is_over(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")

    def away(*_: Any, **__: Any) -> None:
        raise BackendUnavailable("away")

    harness.backend.reconcile = away  # type: ignore[method-assign, assignment]
    harness.let_time_pass()
    node.sweep()
    assert harness.job(job_id).state is State.RUNNING
    harness.client.hset(f"{PREFIX}job:{job_id}", "in_doubt_since", "1")
    harness.let_time_pass()
    node.sweep()
    assert harness.job(job_id).failure.code == "outcome-unknown"  # type: ignore[union-attr]


def test_a_reconciliation_that_times_out_ends(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")

    def endless(*_: Any, **__: Any) -> None:
        raise TimedOut

    harness.backend.reconcile = endless  # type: ignore[method-assign, assignment]
    harness.client.hset(f"{PREFIX}job:{job_id}", "in_doubt_since", "1")
    harness.let_time_pass()
    node.sweep()
    assert harness.job(job_id).failure.code == "outcome-unknown"  # type: ignore[union-attr]


def test_an_operator_settles_only_what_is_being_settled(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    assert harness.jobs.force_outcome(job_id, State.SUCCEEDED, {}, []) == "NOT_IN_DOUBT"
    node.claims.hand_over(lease, "")
    step = Listings(harness.client, harness.scripts, harness.settings).step("invalidate", f"{SUBSYSTEM}/volumes")
    assert harness.jobs.force_outcome(job_id, State.SUCCEEDED, {}, [step]) == "DONE"
    assert harness.client.hget(f"{PREFIX}listing:{SUBSYSTEM}/volumes", "epoch")
    assert harness.job(job_id).state is State.SUCCEEDED
    assert not harness.leftovers()


def test_a_job_of_another_filer_or_another_release_is_left_to_others(harness: Harness, node: Node):
    foreign, newer = harness.accept("create_volume", volume="x"), harness.accept("create_volume", volume="y")
    harness.client.hset(f"{PREFIX}job:{foreign}", "subsystem", "elsewhere")
    node.carry_out(foreign)
    harness.client.hset(f"{PREFIX}job:{newer}", "operation", "invented_later")
    assert node.claims.claim(newer) == "UNKNOWN"
    assert {harness.field(job_id, "state") for job_id in (foreign, newer)} == {"queued"}
    assert harness.effects() == {}


def test_a_job_without_a_record_blocks_no_other(harness: Harness, node: Node):
    gone, job_id = harness.accept("update_volume", volume="vol"), harness.accept("restrict_volume", volume="vol")
    harness.client.delete(f"{PREFIX}job:{gone}")
    harness.let_time_pass()
    harness.publisher.take()
    node.sweep()
    node.consume()
    assert harness.job(job_id).state is State.SUCCEEDED


# --- growth


def test_purged_jobs_leave_no_keys(harness: Harness, node: Node):
    for operation in ("create_volume", "update_volume", "get_volume", "create_policy"):
        node.carry_out(harness.accept(operation, key=operation))
    finished: Any = harness.client.zrange(f"{PREFIX}expiring", 0, -1)
    harness.client.zadd(f"{PREFIX}expiring", dict.fromkeys(finished, 1))
    assert harness.scripts.purge_expired(500) == 4
    kinds = ("job:", "index", "result:", "expiring")
    keys: Any = harness.client.keys(f"{PREFIX}*")
    assert not [key for key in keys if key.decode().removeprefix(PREFIX).startswith(kinds)]
    assert not harness.leftovers()
