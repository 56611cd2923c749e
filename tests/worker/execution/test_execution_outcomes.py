"""How a job ends by what its driver does: lost answers, partial failures, unexpected exceptions, shutdown."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from storage_backends.errors import BackendUnavailable, NoSuchVolume, NotSupported, OutcomeUnclear
from storage_backends.journal import LeaseLost
from tests.worker.harness import SUBSYSTEM, Harness, Node
from worker.backends.gateway import BackendGateway
from worker.catalog.resource_types import VOLUMES
from worker.jobs.record import State
from worker.listings.repository import Listings
from worker.store.results import LeaseResult


@pytest.fixture
def node(harness: Harness) -> Node:
    return harness.node()


class Breaking:
    """The dummy, but for one method that raises after (or before) it has done its work."""

    def __init__(self, backend: Any, method: str, error: Exception, *, works: bool = True) -> None:
        self._backend, self._method, self._error, self._works = backend, method, error, works

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._backend, name)
        if name != self._method:
            return method

        def breaking(*arguments: Any, **options: Any) -> Any:
            if self._works:
                method(*arguments, **options)
            raise self._error

        return breaking


def _node(harness: Harness, error: Exception, *, works: bool = True, method: str = "create_volume") -> Node:
    backend: Any = Breaking(harness.backend, method, error, works=works)
    return harness.node(backend)


def test_a_lost_answer_is_reconciled_and_not_reported_as_failed(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    assert _node(harness, OutcomeUnclear("no answer")).carry_out(job_id) is None
    job = harness.job(job_id)
    assert job.state is State.RUNNING
    assert job.in_doubt_since_ms is not None
    harness.let_time_pass()
    node.sweep()
    assert harness.job(job_id).state is State.SUCCEEDED
    assert harness.effects() == {job_id: True}


def test_an_unexpected_exception_after_the_intent_is_reconciled(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    assert _node(harness, RuntimeError("a bug")).carry_out(job_id) is None
    assert harness.job(job_id).state is State.RUNNING
    harness.let_time_pass()
    node.sweep()
    assert harness.job(job_id).state is State.SUCCEEDED


def test_an_unexpected_exception_before_the_intent_ends_the_job(harness: Harness):
    job_id = harness.accept("create_volume")
    assert _node(harness, RuntimeError("a bug"), works=False).carry_out(job_id) is not None
    job = harness.job(job_id)
    assert (job.state, job.failure and job.failure.code) == (State.FAILED, "backend-error")
    assert harness.effects() == {}


def test_after_a_partial_failure_reads_are_right(harness: Harness):
    harness.node().carry_out(harness.accept("list_volumes"))
    job_id = harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=33)
    _node(harness, NotSupported("half done"), method="update_volume").carry_out(job_id)
    assert harness.job(job_id).state is State.FAILED
    listings = Listings(harness.client, harness.scripts, harness.settings)
    state = listings.listing_state(VOLUMES, f"{SUBSYSTEM}/volumes")
    assert state.usable
    assert state.listing_version is not None
    listing = listings.load(state.listing_version)
    assert listing is not None
    volume = listing.find("vol")
    assert volume is not None
    assert volume["percentage_snapshot_reserve"] == 33


def test_a_change_that_was_cancelled_and_not_made_ends_cancelled(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    lease = node.claim(job_id)
    lease.record_intent("create_volume")
    lease.backend_job("a job of the filer", cancellable=True)
    assert harness.jobs.cancel(job_id, "ann") == "CANCELLING"
    harness.let_time_pass()
    harness.node().sweep()
    job = harness.job(job_id)
    assert (job.state, job.failure) == (State.CANCELLED, None)


def test_a_change_that_was_sent_cannot_be_cancelled(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")
    assert harness.jobs.cancel(job_id, "ann") == "TOO_LATE"
    assert harness.job(job_id).state is State.RUNNING


def test_a_read_that_a_draining_worker_returns_does_not_count_as_an_attempt(harness: Harness, node: Node):
    job_id = harness.accept("list_volumes")
    lease = node.claim(job_id)
    node.drain.set()
    assert node.executor.execute(lease) is None
    assert harness.job(job_id).state is State.QUEUED
    harness.node().claim(job_id)
    assert harness.job(job_id).attempt == 1


def test_only_the_assigned_worker_reconciles_and_sends_nothing(harness: Harness, node: Node):
    job_id = harness.accept("create_volume")
    node.claim(job_id).record_intent("create_volume")
    assert node.reconciler.reconcile(job_id, "reconcile:somebody-else") is None
    assert harness.job(job_id).state is State.RUNNING
    assert harness.effects() == {}


class TestIntentsThatRedisDoesNotTake:
    def test_an_intent_is_recorded_before_anything_is_sent(
        self, harness: Harness, node: Node, monkeypatch: pytest.MonkeyPatch
    ):
        job_id = harness.accept("create_volume")
        lease = node.claim(job_id)
        record = harness.scripts.record_progress
        refused, pauses_s = list[Any](), list[float]()
        lease._wake = SimpleNamespace(wait=pauses_s.append)  # type: ignore[assignment]

        def refuse_once(*arguments: Any) -> LeaseResult:
            if not refused:
                refused.append(arguments)
                raise redis.ConnectionError("away")
            result: LeaseResult = record(*arguments)
            return result

        monkeypatch.setattr(harness.scripts, "record_progress", refuse_once)
        lease.record_intent("create_volume")
        assert (len(refused), pauses_s) == (1, [0.2])
        assert harness.job(job_id).step == "create_volume"

    def test_without_an_intent_nothing_is_sent(self, harness: Harness, node: Node, monkeypatch: pytest.MonkeyPatch):
        job_id = harness.accept("create_volume")
        lease = node.claim(job_id)

        def refuse(*_: Any) -> LeaseResult:
            lease.extend(time.monotonic() - 1000)
            raise redis.ConnectionError("away")

        monkeypatch.setattr(harness.scripts, "record_progress", refuse)
        with pytest.raises(LeaseLost):
            harness.backend.create_volume("new", journal=lease)
        assert harness.effects() == {}


class TestCircuitBreaker:
    def _gateway(self, harness: Harness) -> BackendGateway:
        listings = Listings(harness.client, harness.scripts, harness.settings)
        return BackendGateway(SUBSYSTEM, lambda: harness.backend, listings)

    def _fail(self, gateway: BackendGateway, error: Exception, times: int) -> None:
        for _ in range(times):
            with pytest.raises(type(error)), gateway.session():
                raise error

    def test_refusals_do_not_open_the_circuit_breaker(self, harness: Harness):
        gateway = self._gateway(harness)
        self._fail(gateway, NoSuchVolume("not there"), 6)
        with gateway.session() as backend:
            assert backend.list_policies is not None
        assert gateway.breaker_state == "closed"

    def test_an_unreachable_filer_opens_the_circuit_breaker(self, harness: Harness):
        gateway = self._gateway(harness)
        self._fail(gateway, BackendUnavailable("away"), 5)
        with pytest.raises(BackendUnavailable), gateway.session():
            pytest.fail("the filer was called")
