"""Jobs that are put off, handed over or in doubt: what is counted, what is noted, and what they end as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from storage_backends.errors import BackendUnavailable, NoSuchVolume, OutcomeUnclear
from storage_backends.journal import ShuttingDown
from tests.worker.harness import PREFIX, Harness, Node
from worker.config.settings import load
from worker.jobs.record import State
from worker.jobs.service import Jobs
from worker.store.results import ClaimResult, SubmitOutcome


class Failing:
    """A storage system that fails after (or before) it has made the change."""

    def __init__(self, harness: Harness, error: Callable[[], Exception], *, applies: bool = False) -> None:
        self._backend = harness.backend
        self._error = error
        self._applies = applies

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._backend, name)
        if name in ("reconcile", "close"):
            return method

        def call(*arguments: Any, **options: Any) -> Any:
            if self._applies:
                method(*arguments, **options)
            raise self._error()

        return call


@pytest.fixture
def failing(harness: Harness) -> Callable[..., Node]:
    def make(error: Callable[[], Exception], *, applies: bool = False) -> Node:
        return harness.node(Failing(harness, error, applies=applies))  # type: ignore[arg-type]

    return make


# --- put off


def test_a_job_by_path_that_waits_for_its_volume_begins_when_that_is_free(harness: Harness):
    node = harness.node()
    first = harness.accept("create_snapshot", volume="vol", name="first")
    lease = node.claim(first)
    by_path = harness.accept("create_snapshot", volume="node:/vol", name="second")
    assert node.carry_out(by_path) is None
    assert node.claims.claim(by_path) is ClaimResult.BLOCKED
    harness.publisher.take()
    node.executor.execute(lease)
    assert [message.job_id for message in harness.publisher.take()] == [by_path]
    node.carry_out(by_path)
    assert harness.job(by_path).state is State.SUCCEEDED


def test_a_job_shows_why_and_for_how_long_it_was_put_off(harness: Harness, failing: Callable[..., Node]):
    job_id = harness.accept("create_volume")
    for number in range(12):
        failing(lambda number=number: BackendUnavailable(f"The name does not resolve: {number}.")).carry_out(job_id)
        harness.let_time_pass()
    attempts = harness.job(job_id).attempts
    assert [attempt.detail for attempt in attempts] == [
        f"The name does not resolve: {number}." for number in range(2, 12)
    ]
    assert {attempt.code for attempt in attempts} == {"backend-unavailable"}
    assert [attempt.retry_in_ms for attempt in attempts] == [2000, 4000, *[8000] * 8]
    assert [attempt.at_ms for attempt in attempts] == sorted(attempt.at_ms for attempt in attempts)


def test_a_job_that_was_put_off_is_not_claimed_before_its_time(harness: Harness, failing: Callable[..., Node]):
    job_id = harness.accept("create_volume")
    failing(lambda: BackendUnavailable("away")).carry_out(job_id)
    assert harness.node().claims.claim(job_id) is ClaimResult.LATER
    assert harness.job(job_id).state is State.QUEUED
    harness.let_time_pass()
    assert harness.node().carry_out(job_id)


def test_a_lost_worker_is_an_attempt_too(harness: Harness):
    job_id = harness.accept("create_volume")
    node = harness.node()
    node.claim(job_id)
    harness.let_time_pass()
    node.sweep()
    assert [(attempt.code, attempt.retry_in_ms) for attempt in harness.job(job_id).attempts] == [("worker-lost", 0)]


def test_a_job_returned_by_a_draining_worker_is_no_attempt(harness: Harness, failing: Callable[..., Node]):
    job_id = harness.accept("list_volumes")
    failing(ShuttingDown).carry_out(job_id)
    assert harness.job(job_id).attempt == 0
    lease = harness.node().claim(job_id)
    assert (lease.job.attempt, harness.job(job_id).attempts) == (1, ())


def test_a_job_that_was_cancelled_while_it_failed_is_not_put_off(harness: Harness, failing: Callable[..., Node]):
    job_id = harness.accept("list_volumes")

    def cancelled_meanwhile() -> Exception:
        assert harness.jobs.cancel(job_id, "ann") == "CANCELLING"
        return BackendUnavailable("away")

    failing(cancelled_meanwhile).carry_out(job_id)
    assert harness.job(job_id).state is State.CANCELLED


def test_a_change_that_was_put_off_can_be_cancelled_when_it_begins_again(harness: Harness):
    job_id, node = harness.accept("create_volume"), harness.node()
    lease = node.claim(job_id)
    lease.record_intent("create")
    assert not harness.job(job_id).cancellable
    node.claims.requeue(lease, 0, "backend-unavailable")
    node.claim(job_id)
    assert harness.job(job_id).cancellable
    assert harness.jobs.cancel(job_id, "ann") == "CANCELLING"


def test_a_worker_refuses_jobs_that_it_does_not_serve(harness: Harness):
    job_id = harness.accept("create_volume")
    node = harness.node()
    node.claims.requeue_foreign(node.claim(job_id))
    job = harness.job(job_id)
    assert (job.state, job.attempt) == (State.QUEUED, 0)
    assert [(attempt.code, attempt.retry_in_ms) for attempt in job.attempts] == [("wrong-worker", 5000)]


# --- in doubt


@pytest.mark.parametrize("error", [lambda: OutcomeUnclear("no answer"), lambda: RuntimeError("a mistake of ours")])
def test_a_change_whose_answer_is_lost_is_reconciled(harness: Harness, failing: Callable[..., Node], error: Any):
    job_id = harness.accept("create_volume")
    assert failing(error, applies=True).carry_out(job_id) is None
    job = harness.job(job_id)
    assert (job.state, job.in_doubt_since_ms is not None) == (State.RUNNING, True)
    harness.recover(harness.node(), job_id)
    assert harness.job(job_id).state is State.SUCCEEDED
    assert harness.effects() == {job_id: True}


def test_an_internal_error_before_the_intent_fails_the_job(harness: Harness, failing: Callable[..., Node]):
    job_id = harness.accept("create_volume")
    failing(lambda: RuntimeError("a mistake of ours")).carry_out(job_id)
    failure = harness.job(job_id).failure
    assert failure is not None
    assert failure.code == "backend-error"


def test_a_cancelled_change_that_was_not_made_ends_cancelled(harness: Harness):
    job_id = harness.accept("create_volume")
    lease = harness.node().claim(job_id)
    lease.record_intent("create_volume")
    lease.backend_job("1", cancellable=True)
    assert harness.jobs.cancel(job_id, "ann") == "CANCELLING"
    harness.recover(harness.node(), job_id)
    assert harness.job(job_id).state is State.CANCELLED


def test_a_cancelled_change_that_was_made_has_succeeded(harness: Harness):
    job_id = harness.accept("create_volume")
    lease = harness.node().claim(job_id)
    harness.backend.create_volume("new", journal=lease)
    lease.backend_job("1", cancellable=True)
    assert harness.jobs.cancel(job_id, "ann") == "CANCELLING"
    harness.recover(harness.node(), job_id)
    assert harness.job(job_id).state is State.SUCCEEDED
    assert harness.effects() == {job_id: True}


def test_a_refusal_does_not_open_the_circuit_breaker(harness: Harness, failing: Callable[..., Node]):
    node = failing(lambda: NoSuchVolume("none"))
    for _ in range(6):
        job_id = harness.accept("update_volume", volume="none", percentage_snapshot_reserve=1)
        node.carry_out(job_id)
        assert harness.job(job_id).failure.code == "no-such-volume"  # type: ignore[union-attr]


# --- accepted or not


def test_one_key_of_two_users_makes_two_jobs(harness: Harness):
    mine = harness.jobs.accept(harness.new("create_volume", key="k"))
    other = harness.jobs.accept(replace(harness.new("create_volume", key="k"), requester="bob", request_hash="other"))
    assert (mine[0], other[0]) == (SubmitOutcome.NEW, SubmitOutcome.NEW)
    assert mine[1] != other[1]


def test_a_full_queue_refuses_jobs_and_keeps_the_others(harness: Harness):
    publisher: Any = harness.publisher
    settings = load(type(harness.settings), SAPI_DEBUG=True, queue_limit=2, queue_share=100)
    jobs = Jobs(harness.client, harness.scripts, harness.jobs.ids, publisher, settings)
    new = [harness.new("create_lock", volume="vol", host=f"h{number}") for number in range(3)]
    accepted = [jobs.accept(request)[:2] for request in new]
    assert [outcome for outcome, _ in accepted] == [SubmitOutcome.NEW, SubmitOutcome.NEW, SubmitOutcome.FULL]
    assert harness.client.zcard(f"{PREFIX}queued:filer.write") == 2
    assert len(list(harness.client.scan_iter(f"{PREFIX}job:*"))) == 2
    node = harness.node()
    for _, job_id in accepted[:2]:
        node.carry_out(job_id)
        assert harness.job(job_id).done
