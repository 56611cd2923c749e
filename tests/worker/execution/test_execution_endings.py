"""What a job may still do while its worker drains, while it is cancelled, and after it has failed half way."""

from __future__ import annotations

from typing import Any

import pytest

from storage_backends.errors import StorageError
from storage_backends.journal import ShuttingDown, TimedOut
from tests.worker.harness import Harness
from worker.execution.lease import Lease
from worker.jobs.record import State
from worker.store.results import CancelResult


def _drained(harness: Harness) -> tuple[str, Lease]:
    """A running change whose worker drains."""
    node = harness.node()
    job_id = harness.accept("create_volume")
    return job_id, node.claim(job_id)


def test_a_draining_worker_sends_nothing_new(harness: Harness):
    job_id, lease = _drained(harness)
    lease._drain.set()
    with pytest.raises(ShuttingDown):
        lease.record_intent("create_volume")
    assert harness.job(job_id).step is None


def test_a_draining_worker_ends_what_it_has_sent_unless_the_filer_has_a_job_for_it(harness: Harness):
    _, lease = _drained(harness)
    lease.record_intent("create_volume")
    lease._drain.set()
    lease.checkpoint()
    lease.backend_job("4711")
    with pytest.raises(ShuttingDown):
        lease.checkpoint()


def test_a_job_of_the_filer_cannot_be_cancelled_unless_the_driver_says_so(harness: Harness):
    job_id, lease = _drained(harness)
    lease.record_intent("create_volume")
    lease.backend_job("4711")
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.TOO_LATE
    lease.backend_job("4711", cancellable=True)
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING


def test_progress_is_recorded_once_a_second_and_at_its_end(harness: Harness):
    job_id, lease = _drained(harness)
    for current in (1, 2, 5):
        lease.progress(current, 5, "steps", "mounting")
        assert harness.field(job_id, "current") == str(1 if current < 5 else 5)


def test_a_read_that_is_cancelled_at_its_last_page_ends_cancelled(harness: Harness):
    job_id, node = harness.accept("list_volumes"), harness.node()
    lease, list_volumes = node.claim(job_id), harness.backend.list_volumes

    def cancelled_meanwhile(**arguments: Any) -> Any:
        volumes = list_volumes(**arguments)
        harness.jobs.cancel(job_id, "ann")
        node.lease_renewer.renew()
        return volumes

    harness.backend.list_volumes = cancelled_meanwhile  # type: ignore[method-assign]
    node.executor.execute(lease)
    assert harness.job(job_id).state is State.CANCELLED


def test_after_a_partial_failure_that_cannot_be_checked_listings_are_invalidated(harness: Harness):
    node = harness.node()
    listing = harness.accept("list_volumes")
    node.carry_out(listing)
    before = harness.client.hget("sapi:listing:filer/volumes", "invalid")
    lease = node.claim(harness.accept("update_volume", volume="vol"))

    def half(*_: Any, journal: Any, **__: Any) -> None:
        journal.record_intent("update_volume")
        harness.backend.get_volume = too_late  # type: ignore[method-assign]
        raise StorageError("half")

    def too_late(*_: Any, **__: Any) -> Any:
        raise TimedOut

    harness.backend.update_volume = half  # type: ignore[method-assign, assignment]
    node.executor.execute(lease)
    assert before is None
    assert harness.client.hget("sapi:listing:filer/volumes", "invalid") is not None


def test_a_job_returned_without_delay_is_published(harness: Harness):
    node = harness.node()
    job_id = harness.accept("create_volume")
    for delay_s, woken in ((60, []), (0, [job_id])):
        harness.client.hset(f"sapi:job:{job_id}", "not_before", "")
        lease = node.claim(job_id)
        harness.publisher.take()
        node.claims.requeue(lease, delay_s)
        assert [message.job_id for message in harness.publisher.take()] == woken


def test_a_slot_that_becomes_free_takes_no_job_before_its_time(harness: Harness):
    node = harness.node()
    put_off = harness.accept("create_volume", volume="vol2")
    node.claims.requeue(node.claim(put_off), 60)
    lease = node.claim(harness.accept("create_volume", volume="vol1"))
    lease.claims_next = lambda: True
    node.executor.execute(lease)
    assert lease.next_lease is None
    harness.client.hset(f"sapi:job:{put_off}", "not_before", "")
    next_lease = node.claims.claim_next("filer.write")
    assert next_lease is not None
    assert next_lease.job_id == put_off
