"""Long polling of a job until it is done, and its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import quote

from storage_api_client.errors import JobCancelled, JobFailed, OutcomeUnknown, StillRunning
from storage_api_client.models import JobRecord, Problem
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.messages import Flow, Pause, Request, Response
from storage_api_client.protocol.retries import Context, checked, send_with_retries

ProgressCallback = Callable[[JobRecord], None]
#: The duration of one long poll (seconds): below the limits of usual proxies.
POLL_S = 20.0
#: The minimum time between two requests for one job (seconds).
_LEAST_S = 0.2
_NOT_MODIFIED = 304


def job_path(job_id: str) -> str:
    """Return the path of a job."""
    return f"/v4/jobs/{quote(job_id, safe='')}"


def get_job(context: Context, job_id: str, deadline: Deadline) -> Flow[JobRecord]:
    """Return a job in its present state."""
    request = Request("GET", job_path(job_id))
    response = yield from send_with_retries(context, request, deadline)
    return JobRecord.of(checked(response, request))


def poll_until_done(
    context: Context, job_id: str, deadline: Deadline, on_progress: ProgressCallback | None = None
) -> Flow[JobRecord]:
    """Return a job once it is done.

    Raises:
        StillRunning: it is not done when the time limit is reached.
        NotFound: there is no such job.
    """
    tag, job = "", None
    while True:
        wait_s = min(POLL_S, deadline.left_s) if on_progress is None or tag else 0
        sent_at = time.monotonic()
        request = _poll(job_id, tag, wait_s)
        response = yield from send_with_retries(context, request, deadline, wait_s=wait_s)
        if response.status != _NOT_MODIFIED:
            job, tag = JobRecord.of(checked(response, request)), response.headers.get("etag", "")
            if on_progress:
                on_progress(job)
            if job.done:
                return job
        pause_s = _pause_s(response, time.monotonic() - sent_at, wait_s)
        if not deadline.allows(pause_s):
            raise still_running(job or JobRecord(id=job_id), deadline)
        if pause_s:
            yield Pause(pause_s)


def _poll(job_id: str, tag: str, wait_s: float) -> Request:
    headers = {"Prefer": f"wait={int(wait_s)}"} if wait_s >= 1 else {}
    return Request("GET", job_path(job_id), headers=headers | ({"If-None-Match": tag} if tag else {}))


def _pause_s(response: Response, took_s: float, wait_s: float) -> float:
    """The delay before the next poll (seconds): Retry-After if the service did not hold the request open."""
    was_held_open = wait_s >= 1 and (took_s >= wait_s - 1 or response.status != _NOT_MODIFIED)
    least_s = _LEAST_S if was_held_open or wait_s < 1 else max(_LEAST_S, response.retry_after_s or 1.0)
    return max(0.0, least_s - took_s)


def still_running(job: JobRecord, deadline: Deadline) -> StillRunning:
    """Return the error for a job that has not ended in time."""
    detail = f"Job {job.id} has not ended within {deadline.timeout_s:g} s; it goes on."
    return StillRunning(Problem(title="Still running", code="still-running", detail=detail, retryable=True), job)


def raise_unless_succeeded(job: JobRecord) -> None:
    """Raise the error of a job that is done, unless it succeeded.

    Raises:
        JobFailed: it failed.
        OutcomeUnknown: it is unknown whether its change was made.
        JobCancelled: it was cancelled.
    """
    if job.state == "cancelled":
        raise JobCancelled(Problem(title="Job cancelled", code="job-cancelled", detail="The job was cancelled."), job)
    if job.state != "succeeded":
        raise_failed(job.error or Problem(title="Job failed", detail="The job failed."), job)


def raise_failed(problem: Problem, job: JobRecord | None) -> NoReturn:
    """Raise the failure of a job.

    Raises:
        OutcomeUnknown: it is unknown whether its change was made.
        JobFailed: in all other cases.
    """
    if problem.code == "outcome-unknown":
        raise OutcomeUnknown(problem, job)
    raise JobFailed(problem, job)


def get_result(context: Context, job: JobRecord, deadline: Deadline) -> Flow[Any]:
    """Return the result of a job that has succeeded: the body that the synchronous call would have returned."""
    result = job.result
    if result and "value" in result.raw:
        return result.value
    request = Request("GET", (job.links and job.links.result) or f"{job_path(job.id)}/result")
    response = yield from send_with_retries(context, request, deadline)
    return checked(response, request)


def wait_for_result(
    context: Context, job_id: str, deadline: Deadline, on_progress: ProgressCallback | None = None
) -> Flow[Any]:
    """Wait for a job, and return its result.

    Raises:
        StorageApiError: it did not succeed, or not in time.
    """
    job = yield from wait_for_success(context, job_id, deadline, on_progress)
    return (yield from get_result(context, job, deadline))


def wait_for_success(
    context: Context, job_id: str, deadline: Deadline, on_progress: ProgressCallback | None = None
) -> Flow[JobRecord]:
    """Wait for a job, and return it once it has succeeded.

    Raises:
        StorageApiError: it did not succeed, or not in time.
    """
    job = yield from poll_until_done(context, job_id, deadline, on_progress)
    raise_unless_succeeded(job)
    return job
