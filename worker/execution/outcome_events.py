"""Task events for Flower: when a job was claimed, and how it ended."""

from __future__ import annotations

from celery import Celery

from worker.jobs.failure import Failure
from worker.jobs.record import State
from worker.messaging.task_events import emit


def emit_started(celery: Celery, job_id: str) -> None:
    """Emit an event for Flower: a job has been claimed."""
    emit(celery, "started", job_id)


def emit_ended(
    celery: Celery, job_id: str, state: State, failure: Failure | None = None, *, runtime_s: float = 0.0
) -> None:
    """Emit an event for Flower: how a job ended."""
    if failure is not None:
        kind = "RequestRefused" if failure.is_request_fault else "JobFailed"
        emit(celery, "failed", job_id, exception=f"{kind}('{failure.code}')", traceback=None)
    elif state is State.SUCCEEDED:
        emit(celery, "succeeded", job_id, result=None, runtime=runtime_s)
    else:
        emit(celery, "revoked", job_id, terminated=False, signum=None, expired=False)
