"""What a renewal tells the thread that carries the job out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from storage_backends.journal import Cancelled, Interrupted, JournalState, LeaseLost, ShuttingDown, TimedOut
from tests.worker.harness import PREFIX, Harness
from worker.execution.lease import Lease
from worker.store.results import CancelResult


def test_a_request_to_cancel_is_noticed(harness: Harness):
    job_id, node = harness.accept("list_volumes"), harness.node()
    lease = node.claim(job_id)
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    lease.checkpoint()
    node.lease_renewer.renew()
    assert lease.cancel_requested
    with pytest.raises(Cancelled):
        lease.checkpoint()


class FakeWait(threading.Event):
    """An event that waits long, whatever the time limit, and reports that it is awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.is_awaited = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.is_awaited.set()
        return super().wait(20)


@pytest.mark.parametrize(
    ("tell", "reason"), [(Lease.cancel, Cancelled), (Lease.lose, LeaseLost), (Lease.drain, ShuttingDown)]
)
def test_a_waiting_driver_is_woken_at_once(harness: Harness, tell: Callable[[Lease], None], reason: type[Interrupted]):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume"))
    lease._wake = wake = FakeWait()
    woken = threading.Event()

    def wait() -> None:
        with pytest.raises(reason):
            lease.wait(60)
        woken.set()

    threading.Thread(target=wait, daemon=True).start()
    assert wake.is_awaited.wait(20)
    if reason is ShuttingDown:
        node.drain.set()
    tell(lease)
    assert woken.wait(10)


def test_a_driver_waits_as_long_as_requested_and_checks_every_second(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    lease, clock = harness.node().claim(harness.accept("create_volume")), [time.monotonic()]
    waits, cleared = list[float](), list[float]()

    def wait(timeout_s: float) -> None:
        waits.append(round(timeout_s, 3))
        clock[0] += timeout_s + 1e-6
        assert len(waits) < 5

    monkeypatch.setattr("worker.execution.lease.time", SimpleNamespace(monotonic=lambda: clock[0]))
    lease._wake = SimpleNamespace(wait=wait, clear=lambda: cleared.append(clock[0]))  # type: ignore[assignment]
    lease.wait(2.5)
    # If it were not cleared, later waits would return at once after the driver was woken.
    assert (waits, len(cleared)) == ([1, 1, 0.5], 3)


def test_the_message_of_a_step_is_its_name_in_words(harness: Harness):
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id).record_intent("unmount-and_restrict")
    assert harness.field(job_id, "message") == "unmount and restrict"


def test_a_change_that_was_sent_continues_despite_a_request_to_cancel(harness: Harness):
    job_id, node = harness.accept("create_volume"), harness.node()
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    lease.backend_job("4711", cancellable=True)
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    node.lease_renewer.renew()
    assert lease.cancel_requested
    lease.checkpoint()


def test_the_loss_of_the_job_is_noticed(harness: Harness):
    job_id, node = harness.accept("create_volume"), harness.node()
    lease = node.claim(job_id)
    harness.let_time_pass()
    other = harness.node()
    other.sweep()
    other.claim(job_id)
    node.lease_renewer.renew()
    with pytest.raises(LeaseLost):
        lease.checkpoint()
    # Nor do requests to the storage system get more time.
    lease.extend(0.0)
    node.lease_renewer.renew()
    assert lease.seconds_left == 0


@pytest.mark.parametrize(
    "record", [lambda lease: lease.record_intent("one"), lambda lease: lease.progress(1, 2, "pages", "reading")]
)
def test_recording_anything_reports_the_loss_of_the_job(harness: Harness, record: Callable[[Lease], None]):
    lease = harness.node().claim(harness.accept("create_volume"))
    harness.client.hset(f"{PREFIX}job:{lease.job_id}", "token", "another")
    for call in (record, Lease.checkpoint):
        with pytest.raises(LeaseLost):
            call(lease)
    assert (lease.step, harness.job(lease.job_id).step) == (None, None)


def test_a_renewed_lease_counts_from_when_the_renewal_was_sent(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume"))
    at_first = lease.seconds_left
    # It ends here before another worker may have the job.
    assert at_first <= harness.settings.lease - 2
    lease.extend(0.0)
    assert lease.seconds_left == 0
    node.lease_renewer.renew()
    assert at_first * 0.9 < lease.seconds_left <= harness.settings.lease
    node.lease_renewer.remove(lease)
    lease.extend(0.0)
    node.lease_renewer.renew()
    assert lease.seconds_left == 0


def test_limits_of_a_lease_count_from_when_the_claim_was_sent(harness: Harness):
    node = harness.node()
    claimed = node.claim(harness.accept("create_volume"))
    sent_at = time.monotonic() - 100
    lease = Lease(
        harness.scripts, claimed.job, claimed.token, sent_at=sent_at, lease_s=15, limit_s=600, drain=node.drain
    )
    assert lease.limit_at == sent_at + 600
    assert lease.seconds_left == 0
    with pytest.raises(LeaseLost):
        lease.checkpoint()


@pytest.mark.parametrize(("lease_s", "valid_s"), [(3, 2.25), (8, 6.0), (40, 38.0)])
def test_a_lease_ends_in_the_worker_before_it_ends_in_redis(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, lease_s: int, valid_s: float
):
    node = harness.node()
    job = node.claim(harness.accept("create_volume")).job
    monkeypatch.setattr("worker.execution.lease.time", SimpleNamespace(monotonic=lambda: 1000.0))
    lease = Lease(harness.scripts, job, "token", sent_at=1000.0, lease_s=lease_s, limit_s=600, drain=node.drain)
    assert lease.seconds_left == valid_s


def test_a_job_over_its_time_limit_is_stopped(harness: Harness):
    lease = harness.node().claim(harness.accept("create_volume"))
    lease.limit_at = time.monotonic() - 1
    with pytest.raises(TimedOut):
        lease.checkpoint()


def test_a_job_of_the_filer_belongs_to_the_step_that_has_made_it(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume"))
    lease.record_intent("one")
    lease.backend_job("4711")
    lease.record_intent("two")
    assert (lease.filer_job, harness.job(lease.job_id).backend_job) == (None, None)
    # No other worker could reconcile this step: the worker that shuts down ends it.
    node.drain.set()
    lease.checkpoint()


def test_a_reconciliation_gets_the_recorded_state(harness: Harness):
    node = harness.node()
    claimed = node.claim(harness.accept("create_volume"))
    job = replace(claimed.job, step="one", backend_job="4711")
    lease = Lease(harness.scripts, job, "token", sent_at=0.0, lease_s=15, limit_s=600, drain=node.drain)
    assert (lease.step, lease.filer_job) == ("one", "4711")


def test_requests_of_a_change_end_with_the_lease_and_those_of_a_read_with_its_time_limit(harness: Harness):
    node, settings = harness.node(), harness.settings
    change, read = (node.claim(harness.accept(operation)) for operation in ("create_volume", "list_volumes"))
    assert change.seconds_left < settings.lease < settings.read_timeout - 10 < read.seconds_left
    change.limit_at = time.monotonic() + 1
    assert change.seconds_left <= 1


def test_an_intent_that_comes_after_a_request_to_cancel_is_not_recorded(harness: Harness):
    job_id, node = harness.accept("create_volume"), harness.node()
    lease = node.claim(job_id)
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    with pytest.raises(Cancelled):
        lease.record_intent("one")
    assert (lease.step, harness.job(job_id).step) == (None, None)


def test_the_next_step_of_a_change_is_recorded_though_it_is_to_be_cancelled(harness: Harness):
    job_id, node = harness.accept("create_volume"), harness.node()
    lease = node.claim(job_id)
    lease.record_intent("one")
    lease.backend_job("4711", cancellable=True)
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    lease.record_intent("two")
    assert (lease.step, harness.job(job_id).step, lease.cancel_requested) == ("two", "two", True)


def test_reporting_progress_reports_a_request_to_cancel(harness: Harness):
    job_id, node = harness.accept("list_volumes"), harness.node()
    lease = node.claim(job_id)
    assert harness.jobs.cancel(job_id, "ann") is CancelResult.CANCELLING
    lease.progress(1, 2, "pages", "reading")
    assert lease.cancel_requested
    with pytest.raises(Cancelled):
        lease.progress(1, 2, "pages", "reading")


def test_the_end_of_what_is_counted_is_recorded_however_soon_it_comes(harness: Harness):
    lease = harness.node().claim(harness.accept("list_volumes"))
    for current in (500, 700, 1200):
        lease.progress(current, 1200, "volumes", "listing")
        job = harness.job(lease.job_id)
        assert (job.current, job.total) == (1200 if current == 1200 else 500, 1200)


def test_the_age_of_a_step_counts_from_its_own_intent(harness: Harness):
    lease = harness.node().claim(harness.accept("create_volume"))
    harness.client.hset(f"{PREFIX}job:{lease.job_id}", "started", 1)
    lease.record_intent("create_volume")
    job = harness.job(lease.job_id)
    assert job.marked_ms is not None
    assert job.journal_state(job.marked_ms + 2500).age_s == 2.5


def test_everything_that_a_lease_records_is_in_the_reconciliation(harness: Harness):
    lease = harness.node().claim(harness.accept("create_volume"))
    lease.record_intent("create", parent_uuid="1234")
    lease.backend_job("4711")
    job = harness.job(lease.job_id)
    state = job.journal_state(job.marked_ms or 0)
    assert state == JournalState(lease.job_id, "create", "4711", {"parent_uuid": "1234"}, 0.0)
