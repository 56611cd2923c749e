"""How an attempt ends: stopped, too late, failed half way, or without its lease."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis

from storage_backends.errors import BackendUnavailable, StorageError
from storage_backends.journal import Journal, LeaseLost, ShuttingDown, TimedOut
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness, Node
from tests.worker.redis_clock import redis_now_ms
from worker.jobs.record import State

# --- how an attempt ends


def _failing(harness: Harness, error: Exception, *, intent: bool) -> Node:
    """A worker whose changes fail, after their intent was recorded or before."""

    def update_volume(*_: Any, journal: Journal, **__: Any) -> None:
        if intent:
            journal.record_intent("update_volume")
        raise error

    harness.backend.update_volume = update_volume  # type: ignore[method-assign, assignment]
    return harness.node()


def _update(harness: Harness) -> str:
    return harness.accept("update_volume", volume="vol", percentage_snapshot_reserve=33)


@pytest.mark.parametrize(
    ("stop", "reason"), [(ShuttingDown(), None), (TimedOut(), "timed-out"), (redis.ConnectionError(), None)]
)
def test_a_sent_change_that_is_stopped_is_reconciled_and_not_repeated(
    harness: Harness, stop: Exception, reason: str | None
):
    job_id = _update(harness)
    assert _failing(harness, stop, intent=True).carry_out(job_id) is None
    job = harness.job(job_id)
    assert (job.state, job.in_doubt_since_ms is not None, job.in_doubt_reason) == (State.RUNNING, True, reason)


def test_a_timeout_before_anything_was_sent_is_retryable(harness: Harness):
    job_id = _update(harness)
    _failing(harness, TimedOut(), intent=False).carry_out(job_id)
    failure = harness.job(job_id).failure
    assert failure is not None
    assert (failure.code, failure.retryable) == ("timed-out", True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BackendUnavailable("away"), "backend-unavailable"),
        (StorageError("busy", transient=True), "retrying"),
        (redis.ConnectionError("away"), "retrying"),
    ],
)
def test_a_transient_error_is_retried_for_a_time(harness: Harness, error: Exception, reason: str):
    job_id = _update(harness)
    node = _failing(harness, error, intent=False)
    node.carry_out(job_id)
    job = harness.job(job_id)
    assert (job.state, job.waiting_reason, job.attempt) == (State.QUEUED, reason, 1)
    code = error.code if isinstance(error, StorageError) else "queue-unavailable"
    assert [(attempt.code, attempt.retry_in_ms) for attempt in job.attempts] == [(code, 500)]
    for ago_s, state in ((-5, State.QUEUED), (5, State.FAILED)):
        first_ms = redis_now_ms(harness.client) - (harness.settings.backend_patience + ago_s) * 1000
        harness.client.hset(f"{PREFIX}job:{job_id}", mapping={"first_failure": first_ms, "not_before": ""})
        node.carry_out(job_id)
        assert harness.job(job_id).state is state
    failure = harness.job(job_id).failure
    assert failure is not None
    expected = (error.code, error.retryable) if isinstance(error, StorageError) else ("backend-error", True)
    assert (failure.code, failure.retryable) == expected


@pytest.mark.parametrize(
    ("error", "intent", "is_read"),
    [
        (StorageError("refused"), False, False),
        (StorageError("refused"), True, True),
        # It accepted no write: cached listings are still right, and must last until it is back.
        (BackendUnavailable("away"), True, False),
    ],
)
def test_listings_are_invalidated_after_partial_failures_only(
    harness: Harness, error: StorageError, intent: bool, is_read: bool
):
    node, volumes = _failing(harness, error, intent=intent), list[str]()
    get_volume = harness.backend.get_volume

    def counted(volume: str, *, journal: Journal) -> Any:
        volumes.append(volume)
        return get_volume(volume, journal=journal)

    harness.backend.get_volume = counted  # type: ignore[method-assign]
    job_id = _update(harness)
    # It has been tried again for as long as it may be.
    harness.client.hset(f"{PREFIX}job:{job_id}", "first_failure", 1)
    node.carry_out(job_id)
    assert harness.job(job_id).state is State.FAILED
    assert bool(volumes) is is_read


def test_the_failure_of_a_read_is_recorded_despite_a_redis_outage(harness: Harness, monkeypatch: pytest.MonkeyPatch):
    def fail(**_: Any) -> None:
        raise StorageError("refused")

    def away(_cache_key: str) -> None:
        raise redis.ConnectionError("away")

    node, job_id = harness.node(), harness.accept("list_volumes")
    harness.backend.list_volumes = fail  # type: ignore[method-assign, assignment]
    monkeypatch.setattr(node.executor._listings, "abandon", away)
    node.carry_out(job_id)
    failure = harness.job(job_id).failure
    assert failure is not None
    assert failure.detail == "refused"


def test_a_job_taken_over_by_another_worker_is_not_ended(harness: Harness):
    node, other = harness.node(), harness.node()
    lease = node.claim(harness.accept("list_volumes"))
    harness.let_time_pass()
    other.sweep()
    other.claim(lease.job_id)
    harness.backend.list_volumes = lambda **_: []  # type: ignore[method-assign]
    assert node.executor.execute(lease) is None
    assert harness.job(lease.job_id).state is State.RUNNING


def test_a_lost_lease_is_not_renewed(harness: Harness):
    node = _failing(harness, LeaseLost(), intent=True)
    assert node.carry_out(_update(harness)) is None
    assert node.lease_renewer.leases() == []


# --- how long listings are kept


@pytest.mark.parametrize("requester", ["ann", ""])
def test_results_of_anonymous_look_ups_expire_soon(harness: Harness, requester: str):
    settings = harness.settings
    brief_s = settings.cache_keep if requester else settings.cache_fresh + settings.read_job_keep
    for operation, cache_key, keep_s in (
        ("get_volume", "volumes/vol", brief_s), ("list_volumes", "volumes", settings.cache_keep),
    ):  # fmt: skip
        _, job_id, _ = harness.jobs.accept(replace(harness.new(operation), requester=requester))
        harness.node().carry_out(job_id)
        base = harness.client.hget(f"{PREFIX}listing:{SUBSYSTEM}/{cache_key}", "base")
        assert isinstance(base, bytes)
        ttl_s = harness.client.ttl(f"{PREFIX}base:{SUBSYSTEM}/{cache_key}:{base.decode()}")
        assert keep_s - 60 < ttl_s <= keep_s
