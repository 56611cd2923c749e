"""Following a job to its end by long polls, and what it led to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import quote

from storage_api_client.errors import JobCancelled, JobFailed, OutcomeUnknown, StillRunning
from storage_api_client.models import JobRecord, Problem
from storage_api_client.protocol.asking import Context, ask, checked
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.messages import Flow, Pause, Request, Response

Progressed = Callable[[JobRecord], None]
#: For how long one long poll is held open, in seconds: below the limits of usual proxies.
POLL_S = 20.0
#: The least time between two requests about one job, whatever the service says.
_LEAST_S = 0.2
_NOT_MODIFIED = 304


def job_path(job_id: str) -> str:
    """Return the path of a job."""
    return f"/v4/jobs/{quote(job_id, safe='')}"


def get_job(context: Context, job_id: str, deadline: Deadline) -> Flow[JobRecord]:
    """Ask for a job as it is."""
    request = Request("GET", job_path(job_id))
    response = yield from ask(context, request, deadline)
    return JobRecord.of(checked(response, request))


def follow(context: Context, job_id: str, deadline: Deadline, on_progress: Progressed | None = None) -> Flow[JobRecord]:
    """Return a job when it has ended.

    Raises:
        StillRunning: it has not, when the time is over.
        NotFound: there is no such job.
    """
    tag, job = "", None
    while True:
        wait_s = min(POLL_S, deadline.left_s) if on_progress is None or tag else 0
        sent_at = time.monotonic()
        request = _poll(job_id, tag, wait_s)
        response = yield from ask(context, request, deadline, wait_s=wait_s)
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
    """How long not to ask: a service that did not hold the answer back says when to come again."""
    was_held_open = wait_s >= 1 and (took_s >= wait_s - 1 or response.status != _NOT_MODIFIED)
    least_s = _LEAST_S if was_held_open or wait_s < 1 else max(_LEAST_S, response.retry_after_s or 1.0)
    return max(0.0, least_s - took_s)


def still_running(job: JobRecord, deadline: Deadline) -> StillRunning:
    """Return the error for a job that has not ended in time."""
    detail = f"Job {job.id} has not ended within {deadline.timeout_s:g} s; it goes on."
    return StillRunning(Problem(title="Still running", code="still-running", detail=detail, retryable=True), job)


def raise_unless_succeeded(job: JobRecord) -> None:
    """Raise what became of a job that has ended.

    Raises:
        JobFailed: it failed.
        OutcomeUnknown: nobody knows what became of its change.
        JobCancelled: it was cancelled.
    """
    if job.state == "cancelled":
        raise JobCancelled(Problem(title="Job cancelled", code="job-cancelled", detail="The job was cancelled."), job)
    if job.state != "succeeded":
        raise_failed(job.error or Problem(title="Job failed", detail="The job failed."), job)


def raise_failed(problem: Problem, job: JobRecord | None) -> NoReturn:
    """Raise the failure of a job.

    Raises:
        JobFailed: always, but for
        OutcomeUnknown: nobody knows what became of its change.
    """
    if problem.code == "outcome-unknown":
        raise OutcomeUnknown(problem, job)
    raise JobFailed(problem, job)


def value_of(context: Context, job: JobRecord, deadline: Deadline) -> Flow[Any]:
    """Return what a job that has succeeded led to: the body that the synchronous call would have answered."""
    result = job.result
    if result and "value" in result.raw:
        return result.value
    request = Request("GET", (job.links and job.links.result) or f"{job_path(job.id)}/result")
    response = yield from ask(context, request, deadline)
    return checked(response, request)


def result_of(context: Context, job_id: str, deadline: Deadline, on_progress: Progressed | None = None) -> Flow[Any]:
    """Wait for a job, and return what it led to.

    Raises:
        StorageApiError: it did not succeed, or not in time.
    """
    job = yield from end_of(context, job_id, deadline, on_progress)
    return (yield from value_of(context, job, deadline))


def end_of(context: Context, job_id: str, deadline: Deadline, on_progress: Progressed | None = None) -> Flow[JobRecord]:
    """Wait for a job, and return it when it has succeeded.

    Raises:
        StorageApiError: it did not succeed, or not in time.
    """
    job = yield from follow(context, job_id, deadline, on_progress)
    raise_unless_succeeded(job)
    return job
