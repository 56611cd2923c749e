"""The JSON document of a job, made from its record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from worker.catalog.problem_types import MOST_ERRORS, PROBLEM_TYPES
from worker.catalog.success_status import success_status
from worker.jobs.failure import Failure
from worker.jobs.record import Job, State
from worker.jobs.status import JobStatus

#: The path prefix below which clients reach the service; the API sets it for each request.
path_prefix: ContextVar[str] = ContextVar("path_prefix", default="")


@contextmanager
def links_below(prefix: str) -> Iterator[None]:
    """Make documents whose links lead below this path prefix, inside the block."""
    token = path_prefix.set(prefix)
    try:
        yield
    finally:
        path_prefix.reset(token)


def job_path(job_id: str) -> str:
    """Return the path of a job, with the prefix below which clients reach the service."""
    return f"{path_prefix.get()}/v4/jobs/{quote(job_id, safe='')}"


def job_document(job_status: JobStatus, query: str = "") -> dict[str, Any]:
    """Return the job as a JSON object; ``query`` is the query string for the link to its result."""
    job = job_status.job
    result_path = f"{job_path(job.id)}/result" + (f"?{query}" if query else "")
    return {
        "id": job.id,
        "operation": job.operation.name,
        "state": job.state.value,
        "done": job.done,
        "subsystem": job.subsystem or None,
        "target": job.target,
        "request": dict(job.request),
        "requested_by": job.requester or None,
        "request_id": job.request_id,
        **_times(job),
        "queue": {
            "name": job.queue,
            "position": job_status.position,
            "workers_online": job_status.workers_online,
            "waiting_reason": job_status.waiting_reason,
        },
        "progress": _progress(job),
        "attempt": job.attempt,
        "attempts": [
            {
                "at": rfc3339(attempt.at_ms),
                "code": attempt.code,
                "detail": attempt.detail,
                "retry_in_s": attempt.retry_in_ms / 1000,
            }
            for attempt in job.attempts
        ],
        "cancellable": job.cancellable,
        "retry_of": job.retry_of,
        "batch": job.batch or None,
        **({"children": dict(job.children)} if job.children is not None else {}),
        "backend_job": job.backend_job,
        **({"trace_id": job.trace_id} if job.trace_id else {}),
        "result": _result(job_status),
        "error": _error(job),
        "links": {"self": job_path(job.id), "result": result_path, "cancel": f"{job_path(job.id)}/cancel"},
    }


def rfc3339(unix_ms: int) -> str:
    """Return a time in RFC 3339, UTC, with milliseconds."""
    moment = datetime.fromtimestamp(unix_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_ms % 1000:03d}Z"


def _times(job: Job) -> dict[str, str | None]:
    moments = {
        "created_at": job.created_ms,
        "started_at": job.started_ms,
        "updated_at": job.updated_ms,
        "finished_at": job.finished_ms,
        "expires_at": job.expires_ms,
        "cancel_requested_at": job.cancel_requested_ms,
    }
    return {name: None if moment is None else rfc3339(moment) for name, moment in moments.items()}


def _progress(job: Job) -> dict[str, Any]:
    percent = None
    if job.total and job.current is not None:
        percent = max(0, min(100, job.current * 100 // job.total))
    return {
        "percent": percent,
        "current": job.current,
        "total": job.total,
        "unit": job.unit,
        "message": job.message,
    }


def _result(job_status: JobStatus) -> dict[str, Any] | None:
    job = job_status.job
    if job.state is not State.SUCCEEDED:
        return None
    result: dict[str, Any] = {"href": job_path(job.id) + "/result", "status": int(success_status(job.operation))}
    if job_status.result and not job.query:
        # Where a part of a collection was requested, only the whole is available here; `href` answers with the part.
        result["value"] = orjson.loads(job_status.result)
    return result


def _error(job: Job) -> dict[str, Any] | None:
    if job.failure is None:
        return None
    return failure_document(job.failure, job_path(job.id), job.request_id)


def failure_document(failure: Failure, instance: str, request_id: str) -> dict[str, Any]:
    """Return why a job failed as a problem document (RFC 9457)."""
    code = failure.code if failure.code in PROBLEM_TYPES else "backend-error"
    document: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": PROBLEM_TYPES[code].title,
        "status": PROBLEM_TYPES[code].status,
        "detail": failure.detail,
        "instance": instance,
        "code": code,
        "retryable": failure.retryable,
        "request_id": request_id,
    }
    if failure.errors:
        document["errors"] = [dict(error) for error in failure.errors[:MOST_ERRORS]]
    if failure.backend_error:
        document["backend_error"] = dict(failure.backend_error)
    return document
