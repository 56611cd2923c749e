"""What a worker logs about a job that went wrong: how severe it is, which job it is, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from storage_backends.errors import BackendError, BackendUnavailable, OutcomeUnclear
from storage_backends.journal import LeaseLost
from tests.worker.harness import PREFIX, SUBSYSTEM, Harness
from tests.worker.maintenance.loop_turns import Turns, in_doubt
from worker.execution.claims import MAX_WORKER_LOSSES, Completion
from worker.jobs.record import State

_WORDS = BackendError("2621574", "This operation is not possible now.")


def _carry_out(error: Exception) -> Callable[[Harness, str], None]:
    """A worker whose storage system raises this for every change."""

    def carry_out(harness: Harness, job_id: str) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        harness.backend.create_volume = fail  # type: ignore[assignment]
        harness.node().carry_out(job_id)

    return carry_out


def _complete_for_another(harness: Harness, job_id: str) -> None:
    node = harness.node()
    lease = node.claim(job_id)
    harness.client.hset(f"{PREFIX}job:{job_id}", "token", "of another worker")
    assert not node.claims.complete(lease, Completion(State.SUCCEEDED))


def _claim_unknown(harness: Harness, job_id: str) -> None:
    harness.client.hset(f"{PREFIX}job:{job_id}", "operation", "of_the_future")
    harness.node().claims.claim(job_id)


def _report_progress_without_redis(harness: Harness, job_id: str) -> None:
    lease = harness.node().claim(job_id)

    def away(*_: Any) -> None:
        raise redis.ConnectionError("away")

    lease._scripts.record_progress = away  # type: ignore[assignment]
    lease.progress(1, 2, "steps", "message")


def _reconcile_while_away(harness: Harness, job_id: str) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise BackendUnavailable("The vserver is not there.")

    harness.backend.reconcile = away  # type: ignore[assignment]
    harness.node().claim(job_id).record_intent("create_volume")
    harness.let_time_pass()
    harness.node().sweep()


@pytest.mark.parametrize(
    ("go_wrong", "line"),
    [
        (
            _carry_out(OutcomeUnclear("The answer broke off.", backend_error=_WORDS)),
            {
                "event": "job.in-doubt", "log_level": "warning", "detail": "The answer broke off.",
                "backend_code": _WORDS.code, "backend_message": _WORDS.message,
            },
        ),
        (_carry_out(RuntimeError("a bug")), {"event": "job.crashed", "log_level": "error", "exc_info": True}),
        (
            _carry_out(redis.ConnectionError("away")),
            {"event": "job.redis-unavailable", "log_level": "warning", "error": "ConnectionError"},
        ),
        (
            _carry_out(LeaseLost()),
            {"event": "job.lease-lost", "log_level": "warning", "hint": "another worker has it, or reconciles it"},
        ),
        (
            _complete_for_another,
            {
                "event": "completion.fenced", "log_level": "warning", "state": State.SUCCEEDED,
                "hint": "another worker has it",
            },
        ),
        (
            _claim_unknown,
            {
                "event": "claim.unknown-operation", "log_level": "error",
                "hint": "a newer version submitted it; it is requeued",
            },
        ),
        (_report_progress_without_redis, {"event": "progress.not-recorded", "log_level": "info"}),
        (
            _reconcile_while_away,
            {
                "event": "reconcile.unavailable", "log_level": "warning", "code": "backend-unavailable",
                "detail": "The vserver is not there.", "retry_s": 3.0,
            },
        ),
    ],
)  # fmt: skip
def test_log_lines_name_the_job_and_the_error(
    harness: Harness, go_wrong: Callable[[Harness, str], None], line: dict[str, Any]
):
    job_id = harness.accept("create_volume")
    with capture_logs() as lines:
        go_wrong(harness, job_id)
    assert lines == [line | {"job_id": job_id}]


def test_the_maintenance_loop_logs_the_jobs_that_it_gives_up_or_reconciles(harness: Harness):
    abandoned = harness.accept("create_policy")
    harness.node().claim(abandoned)
    harness.client.hset(f"{PREFIX}job:{abandoned}", "losses", str(MAX_WORKER_LOSSES - 1))
    (doubtful,) = in_doubt(harness, 1)
    loop = Turns(harness).loop
    with capture_logs() as lines:
        loop.recover(SUBSYSTEM)
    loop.stop()
    assert [(line["event"], line["log_level"], line["job_id"], line["subsystem"]) for line in lines] == [
        ("job.abandoned", "warning", abandoned, SUBSYSTEM), ("job.in-doubt", "warning", doubtful, SUBSYSTEM),
    ]  # fmt: skip
