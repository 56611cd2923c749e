"""What a renewal tells the thread that carries the job out."""

from __future__ import annotations

import time

import pytest

from storage_backends.journal import Cancelled, LeaseLost, TimedOut
from tests.worker.bench import Bench
from worker.execution.claims import Completion
from worker.execution.lease import Lease
from worker.jobs.record import State
from worker.store.results import CancelResult


def test_that_it_is_to_be_cancelled(bench: Bench):
    job_id, node = bench.accept("list_volumes"), bench.node()
    lease = node.claim(job_id)
    assert bench.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    lease.checkpoint()
    node.lease_renewer.renew()
    assert lease.cancel_requested
    with pytest.raises(Cancelled):
        lease.checkpoint()


def test_that_what_was_sent_goes_on_though_it_is_to_be_cancelled(bench: Bench):
    job_id, node = bench.accept("create_volume"), bench.node()
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    lease.backend_job("4711", cancellable=True)
    assert bench.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    node.lease_renewer.renew()
    assert lease.cancel_requested
    lease.checkpoint()


def test_that_another_worker_has_it(bench: Bench):
    job_id, node = bench.accept("list_volumes"), bench.node()
    lease = node.claim(job_id)
    bench.let_time_pass()
    other = bench.node()
    other.sweep()
    other.claim(job_id)
    node.lease_renewer.renew()
    with pytest.raises(LeaseLost):
        lease.checkpoint()


def test_that_it_holds_from_when_the_renewal_was_sent(bench: Bench):
    node = bench.node()
    lease = node.claim(bench.accept("create_volume"))
    at_first = lease.seconds_left
    lease.extend(0.0)
    assert lease.seconds_left == 0
    node.lease_renewer.renew()
    assert at_first * 0.9 < lease.seconds_left <= bench.settings.lease
    node.lease_renewer.remove(lease)
    lease.extend(0.0)
    node.lease_renewer.renew()
    assert lease.seconds_left == 0


def test_nothing_is_renewed_of_what_ended_here(bench: Bench):
    node = bench.node()
    ways = (
        lambda lease: node.claims.complete(lease, Completion(State.SUCCEEDED, result=b"null")),
        lambda lease: node.claims.requeue(lease, 60),
        lambda lease: node.claims.hand_over(lease, ""),
    )
    for number, end in enumerate(ways):
        lease = node.claim(bench.accept("create_volume", volume=f"new{number}"))
        assert node.lease_renewer.leases() == [lease]
        end(lease)
        assert node.lease_renewer.leases() == []


def test_its_limits_count_from_when_the_claim_was_sent(bench: Bench):
    node = bench.node()
    claimed = node.claim(bench.accept("create_volume"))
    sent_at = time.monotonic() - 100
    lease = Lease(bench.scripts, claimed.job, claimed.token, sent_at=sent_at, lease_s=15, limit_s=600, drain=node.drain)
    assert lease.limit_at == sent_at + 600
    assert lease.seconds_left == 0
    with pytest.raises(LeaseLost):
        lease.checkpoint()


def test_a_job_over_its_time_limit_is_stopped(bench: Bench):
    lease = bench.node().claim(bench.accept("create_volume"))
    lease.limit_at = time.monotonic() - 1
    with pytest.raises(TimedOut):
        lease.checkpoint()


def test_a_job_of_the_filer_belongs_to_the_step_that_has_made_it(bench: Bench):
    node = bench.node()
    lease = node.claim(bench.accept("create_volume"))
    lease.record_intent("one")
    lease.backend_job("4711")
    lease.record_intent("two")
    assert (lease.filer_job, bench.job(lease.job_id).backend_job) == (None, None)
    # Nobody else could find out what became of this step: the worker that shuts down ends it.
    node.drain.set()
    lease.checkpoint()
