"""The result of a batch: for each member, in the order of the request, the response to it as a single request."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from flask import Response

from api.http.problems import Problem, problem_document, problem_of
from api.jobs.submit import job_headers, object_location
from api.services import current_services
from worker.catalog.success_status import RETURNS_LOCATION, success_status
from worker.jobs.document import job_path
from worker.jobs.record import Job, State
from worker.jobs.status import JobStatus


def batch_result(job_status: JobStatus) -> Response:
    """Return the results of all members of a batch that has ended in any state.

    Raises:
        Problem: it has not ended.
    """
    job = job_status.job
    if not job.done:
        headers = {"Retry-After": str(job_status.retry_after_s), **job_headers(job.id)}
        raise Problem("job-not-finished", "The batch has not ended yet.", headers=headers)
    rows = [_row(job_id, member_status) for job_id, member_status in current_services().batches.members(job.id)]
    response = Response(orjson.dumps(rows), content_type="application/json")
    response.headers.update(job_headers(job.id))
    return response


def _row(job_id: str, job_status: JobStatus | None) -> dict[str, Any]:
    if job_status is None:
        return _failed(job_id, Problem("job-expired", "The member's record is kept no longer."))
    job = job_status.job
    if job.failure is not None:
        return _failed(job_id, problem_of(job.failure), job.request_id)
    if job.state is not State.SUCCEEDED:
        return _failed(job_id, Problem("job-cancelled", "The member was cancelled."), job.request_id)
    status, value = success_status(job.operation), None
    if status != HTTPStatus.NO_CONTENT:
        if not job_status.result:
            return _failed(job_id, Problem("result-expired", "The result is kept no longer."), job.request_id)
        value = orjson.loads(job_status.result)
    return {"job": job_id, "status": int(status), "location": _location(job), "value": value}


def _location(job: Job) -> str | None:
    return object_location(job) if job.operation.name in RETURNS_LOCATION else None


def _failed(job_id: str, problem: Problem, request_id: str = "") -> dict[str, Any]:
    document = problem_document(problem, instance=job_path(job_id), request_id=request_id)
    return {"job": job_id, "status": problem.status, "location": None, "problem": document}
