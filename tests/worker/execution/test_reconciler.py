"""The outcome of an in-doubt change by what its storage system shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from storage_backends.base import Outcome, ReconciledOutcome
from storage_backends.errors import BackendUnavailable, NoSuchVolume
from storage_backends.journal import InMemoryJournal, LeaseLost, ShuttingDown, TimedOut
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from worker.jobs.record import State

_CAUSE = json.dumps({"detail": "The answer broke off.", "backend_error": None})


def _now_ms(harness: Harness) -> int:
    seconds, micros = harness.client.time()
    return int(seconds * 1000 + micros // 1000)


def _in_doubt(harness: Harness, **fields: Any) -> str:
    """A change whose worker was lost after its intent, beside a cached listing."""
    harness.node().carry_out(harness.accept("list_volumes"))
    job_id = harness.accept("create_volume")
    harness.node().claim(job_id).record_intent("create_volume")
    if fields:
        mapping: Any = fields
        harness.client.hset(f"{PREFIX}job:{job_id}", mapping=mapping)
    harness.let_time_pass()
    return job_id


def _reconcile(harness: Harness, probe: Callable[[], Any]) -> None:
    """Let another worker reconcile, with what ``probe`` returns or raises."""
    harness.backend.reconcile = lambda *_, **__: probe()  # type: ignore[method-assign]
    assert len(harness.node().sweep()[0]) == 1


def _raising(error: Exception) -> Callable[[], Any]:
    def probe() -> Any:
        raise error

    return probe


def _is_invalid(harness: Harness) -> bool:
    return bool(harness.client.hexists(f"{PREFIX}listing:{SUBSYSTEM}/volumes", "invalid"))


def test_a_reconciled_change_is_in_listings_and_result(harness: Harness):
    job_id = _in_doubt(harness)
    volume = harness.backend.create_volume("new", journal=InMemoryJournal())
    _reconcile(harness, lambda: ReconciledOutcome(Outcome.DONE, volume))
    result = harness.jobs.result(job_id)
    assert result is not None
    assert orjson.loads(result)["name"] == "new"
    assert not _is_invalid(harness)
    changes: Any = harness.client.xrange(f"{PREFIX}delta:{SUBSYSTEM}/volumes")
    assert [fields[b"k"] for _, fields in changes] == [b"new"]


@pytest.mark.parametrize(
    ("outcome", "fields", "state", "code"),
    [
        (ReconciledOutcome(Outcome.NOT_DONE), {}, State.FAILED, "worker-lost"),
        (ReconciledOutcome(Outcome.NOT_DONE, error=NoSuchVolume("none")), {}, State.FAILED, "no-such-volume"),
        (ReconciledOutcome(Outcome.NOT_DONE), {"cancel_requested": "1"}, State.CANCELLED, None),
        (
            ReconciledOutcome(Outcome.NOT_DONE, error=NoSuchVolume("none")),
            {"cancel_requested": "1"}, State.FAILED, "no-such-volume",
        ),
        (ReconciledOutcome(Outcome.UNKNOWN), {"in_doubt_cause": _CAUSE}, State.FAILED, "outcome-unknown"),
    ],
)  # fmt: skip
def test_a_change_not_done_or_unknown_invalidates_listings(
    harness: Harness, outcome: ReconciledOutcome, fields: dict[str, str], state: State, code: str | None
):
    job_id = _in_doubt(harness, **fields)
    with capture_logs() as lines:
        _reconcile(harness, lambda: outcome)
    job = harness.job(job_id)
    assert (job.state, job.failure and job.failure.code) == (state, code)
    assert [(line["job_id"], line["state"], line["code"]) for line in lines if line["event"] == "job.reconciled"] == [
        (job_id, state, code)
    ]
    assert _is_invalid(harness)
    if code == "worker-lost":
        assert job.failure is not None
        assert job.failure.retryable
    if code == "outcome-unknown":
        assert job.failure is not None
        assert job.failure.detail.endswith("The answer broke off.")


@pytest.mark.parametrize(
    ("reason", "code", "retryable"),
    [
        ("", "worker-lost", True), ("timed-out", "timed-out", True), ("backend-timeout", "backend-timeout", True),
        ("backend-error", "backend-error", False),
    ],
)  # fmt: skip
def test_a_change_that_was_not_made_fails_for_the_reason_why_it_was_in_doubt(
    harness: Harness, reason: str, code: str, retryable: bool
):
    for cause in ("", _CAUSE):
        job_id = _in_doubt(harness, in_doubt_since="1", in_doubt_reason=reason, in_doubt_cause=cause)
        _reconcile(harness, lambda: ReconciledOutcome(Outcome.NOT_DONE))
        failure = harness.job(job_id).failure
        assert failure is not None
        assert (failure.code, failure.retryable) == (code, retryable)
        assert "was not made" in failure.detail
        assert failure.detail.endswith("The answer broke off.") is bool(cause)


@pytest.mark.parametrize("reason", ["backend-timeout", ""])
@pytest.mark.parametrize("error", [BackendUnavailable("The vserver is away."), TimedOut(), RuntimeError("a bug")])
def test_a_change_is_looked_up_until_its_time_is_over(harness: Harness, error: Exception, reason: str):
    timeout_ms = harness.settings.reconcile_timeout * 1000
    job_id = _in_doubt(harness, in_doubt_since=_now_ms(harness) - timeout_ms + 30_000, in_doubt_reason=reason)
    _reconcile(harness, _raising(error))
    job = harness.job(job_id)
    assert (job.state, job.in_doubt_reason) == (State.RUNNING, reason or None)
    due: Any = harness.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", job_id)
    assert 0 < due - _now_ms(harness) <= 3000
    harness.client.hset(f"{PREFIX}job:{job_id}", "in_doubt_since", _now_ms(harness) - timeout_ms)
    harness.let_time_pass()
    _reconcile(harness, _raising(error))
    failure = harness.job(job_id).failure
    assert failure is not None
    assert failure.code == "outcome-unknown"
    assert ("The vserver is away." in failure.detail) is isinstance(error, BackendUnavailable)
    assert _is_invalid(harness)


@pytest.mark.parametrize("reason", ["timed-out", ""])
def test_a_worker_that_shuts_down_hands_the_job_over_at_once(harness: Harness, reason: str):
    job_id = _in_doubt(harness, in_doubt_since="1", in_doubt_reason=reason)
    _reconcile(harness, _raising(ShuttingDown()))
    job = harness.job(job_id)
    assert (job.state, job.in_doubt_reason, job.token) == (State.RUNNING, reason or None, None)
    assert harness.client.zscore(f"{PREFIX}due:{SUBSYSTEM}", job_id) <= _now_ms(harness)  # type: ignore[operator]


def test_a_worker_that_lost_the_job_changes_nothing(harness: Harness):
    job_id = _in_doubt(harness, in_doubt_since="1")
    harness.backend.reconcile = lambda *_, **__: _raising(LeaseLost())()  # type: ignore[method-assign]
    node = harness.node()
    assert node.sweep() == ([job_id], [])
    job = harness.job(job_id)
    assert (job.state, job.token) == (State.RUNNING, f"reconcile:test:{job_id}")
    assert not _is_invalid(harness)
    assert node.lease_renewer.leases() == []


def test_a_worker_that_loses_the_job_during_reconciliation_does_not_end_it(harness: Harness):
    job_id = _in_doubt(harness)

    def probe(*_: Any, **__: Any) -> ReconciledOutcome:
        harness.client.hset(f"{PREFIX}job:{job_id}", "token", "another")
        return ReconciledOutcome(Outcome.NOT_DONE)

    harness.backend.reconcile = probe  # type: ignore[method-assign]
    harness.scripts.recover_jobs(SUBSYSTEM, 15_000, 5000, 3, 1000, "sweep", 1)
    assert harness.node().reconciler.reconcile(job_id, f"sweep:{job_id}") is None
    assert harness.job(job_id).state is State.RUNNING
