"""Which leases are renewed, for how long, and from when a renewal holds."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from structlog.testing import capture_logs

from tests.worker.harness import Harness
from worker.execution.claims import Completion
from worker.execution.lease import LeaseRenewer
from worker.jobs.record import State
from worker.store.results import LeaseResult


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), RuntimeError("a bug")])
def test_leases_are_renewed_at_intervals_despite_errors(harness: Harness, error: Exception):
    errors, renewed = [error], threading.Event()

    def renew(*_: Any) -> list[LeaseResult]:
        if errors:
            raise errors.pop()
        renewed.set()
        return [LeaseResult.GO]

    renewer = LeaseRenewer(SimpleNamespace(renew_leases=renew), 0.01, on_hang=lambda _: None)  # type: ignore[arg-type]
    renewer.add(harness.node().claim(harness.accept("create_volume")))
    with capture_logs() as lines:
        renewer.start()
        assert renewed.wait(20)
        renewer.stop()
        renewer.join(20)
    assert not renewer.is_alive()
    assert [line["event"] for line in lines] == ["lease.renewal-failed"]


@pytest.mark.parametrize(("lease_s", "every_s"), [(3, 0.5), (6, 1.0), (40, 1.0)])
def test_leases_are_renewed_six_times_in_their_duration_and_at_least_each_second(lease_s: int, every_s: float):
    """A renewal also passes on that a cancellation was requested."""
    renewer = LeaseRenewer(SimpleNamespace(), lease_s, on_hang=lambda _: None)  # type: ignore[arg-type]
    renewer._over = over = Mock(wait=Mock(return_value=True))
    renewer.run()
    over.wait.assert_called_once_with(every_s)


def test_leases_of_ended_jobs_are_not_renewed(harness: Harness):
    node = harness.node()
    ways = (
        lambda lease: node.claims.complete(lease, Completion(State.SUCCEEDED, result=b"null")),
        lambda lease: node.claims.requeue(lease, 60),
        lambda lease: node.claims.hand_over(lease, ""),
    )
    for number, end in enumerate(ways):
        lease = node.claim(harness.accept("create_volume", volume=f"new{number}"))
        assert node.lease_renewer.leases() == [lease]
        end(lease)
        assert node.lease_renewer.leases() == []


def test_a_job_over_its_time_limit_is_renewed_for_another_lease_and_then_hangs(harness: Harness):
    node = harness.node()
    lease = node.claim(harness.accept("create_volume"))
    in_time = node.claim(harness.accept("list_volumes"))
    over_long_s = harness.settings.lease + 1
    for over_s, hung in ((over_long_s - 2, []), (over_long_s, [lease]), (over_long_s + 1, [lease])):
        lease.limit_at = time.monotonic() - over_s
        node.lease_renewer.renew()
        assert node.hung == hung
    assert in_time in node.lease_renewer.leases()


def test_a_renewal_that_is_answered_late_holds_from_when_it_was_sent(harness: Harness):
    def late(*arguments: Any) -> Any:
        assert not threading.Event().wait(0.05)
        return harness.scripts.renew_leases(*arguments)

    node = harness.node(scripts=SimpleNamespace(claim=harness.scripts.claim, renew_leases=late))
    lease = node.claim(harness.accept("create_volume"))
    lease.extend(time.monotonic())
    at_once_s = lease.seconds_left
    node.lease_renewer.renew()
    assert lease.seconds_left <= at_once_s - 0.04


def test_a_worker_without_jobs_renews_nothing(harness: Harness):
    calls: list[tuple[Any, ...]] = []
    node = harness.node(scripts=SimpleNamespace(renew_leases=lambda *arguments: calls.append(arguments)))
    node.lease_renewer.renew()
    assert calls == []
