"""Turns a request for a change into a job; answers 202, or with the job's result if it ends in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import orjson
import redis
from flask import Response, request

from api.auth import principal
from api.http.member_requests import current_member
from api.http.preconditions import reject_preconditions
from api.http.preferences import Preferences, preferences
from api.http.problems import Problem, problem_of
from api.jobs.long_polling import wait_for_answer, wait_for_end
from api.jobs.new_job import new_job, reject_callback, request_hash
from api.jobs.refusals import refusal
from api.services import current_services
from worker.catalog.operations import Operation
from worker.catalog.success_status import RETURNS_LOCATION, success_status
from worker.jobs.document import job_document
from worker.jobs.idempotency import KnownRequest, idempotency_name
from worker.jobs.query import key_of
from worker.jobs.record import Job, State
from worker.jobs.service import NewJob
from worker.jobs.status import JobStatus
from worker.store.results import SubmitOutcome


class MemberResponse(Response):
    """What a view returns for a member of a batch: the job that would have been accepted."""

    def __init__(self, new: NewJob) -> None:
        super().__init__()
        self.new_job = new


def submit(operation: Operation, subsystem: str, arguments: Mapping[str, Any], *, volume: str = "") -> Response:
    """Answer a request for a change; for a member of a batch, with a `MemberResponse`.

    Raises:
        Problem: nothing was accepted.
    """
    operation.check(arguments)
    reject_preconditions()
    new = new_job(operation, subsystem, arguments, volume=volume, keyed=True)
    return MemberResponse(new) if current_member() else _answer_for(new)


def resubmit(job: Job) -> Response:
    """Answer a request to retry a failed or cancelled job, by a new job.

    Raises:
        Problem: nothing was accepted.
    """
    if not job.operation.is_change:
        reject_callback()
    return _answer_for(retry_request(job, keyed=True))


def retry_request(job: Job, *, keyed: bool = False) -> NewJob:
    """Return the request for a job that repeats another one; ``keyed``: the Idempotency-Key is used.

    Raises:
        Problem: `no-such-subsystem`: its storage system is not configured any more.
    """
    if job.subsystem not in current_services().subsystems:
        raise Problem("no-such-subsystem", f"The storage system {job.subsystem} is not configured any more.")
    return replace(
        new_job(job.operation, job.subsystem, job.arguments, keyed=keyed),
        target=job.target,
        volume=job.volume,
        query=job.query,
        retry_of=job.id,
    )


def job_headers(job_id: str) -> dict[str, str]:
    """Headers with the URL of the job."""
    return {"Operation-Location": f"/v4/jobs/{job_id}"}


def accepted_response(job_status: JobStatus, *, headers: Mapping[str, str] | None = None, query: str = "") -> Response:
    """Return 202 with the job, its URL, and Retry-After.

    ``query``: the client's query of the listing that is read, for the link to the result.
    """
    response = Response(
        orjson.dumps(job_document(job_status, query)), HTTPStatus.ACCEPTED, content_type="application/json"
    )
    response.set_etag(str(job_status.job.version))
    if not job_status.job.done:
        response.headers["Retry-After"] = str(job_status.retry_after_s)
    response.headers["Location"] = f"/v4/jobs/{job_status.job.id}"
    response.headers.update(job_headers(job_status.job.id))
    response.headers.update(headers)
    return response


def final_response(job_status: JobStatus, result: bytes | None) -> Response:
    """Return what the synchronous call would have answered; ``result``: None when there is none (any more).

    Raises:
        Problem: it would have failed, or its result is needed and not there.
    """
    problem = problem_of_job(job_status.job)
    if problem is not None:
        raise problem
    if result is None and success_status(job_status.job.operation) != HTTPStatus.NO_CONTENT:
        raise result_expired(job_status.job.id)
    return _success(job_status.job, result)


def result_expired(job_id: str) -> Problem:
    """Return the problem for the result of a job that succeeded."""
    return Problem("result-expired", "The job succeeded; its result is kept no longer.", headers=job_headers(job_id))


def problem_of_job(job: Job) -> Problem | None:
    """Return why a job that has ended did not succeed; None when it did."""
    if job.state is State.CANCELLED:
        return Problem("job-cancelled", "The job was cancelled.", headers=job_headers(job.id))
    return None if job.failure is None else problem_of(job.failure, headers=job_headers(job.id))


def _success(job: Job, result: bytes | None) -> Response:
    status = success_status(job.operation)
    body = None if status == HTTPStatus.NO_CONTENT else result
    response = Response(body, status, content_type="application/json")
    if status == HTTPStatus.NO_CONTENT:
        del response.headers["Content-Type"]
    if job.operation.name in RETURNS_LOCATION:
        response.headers["Location"] = object_location(job)
    response.headers.update(job_headers(job.id))
    return response


def object_location(job: Job) -> str:
    """Return the URL of the object that the job has created."""
    if "name" in job.arguments or "policy" in job.arguments:
        return job.target
    return f"/v4/{job.subsystem}/volumes/{job.arguments['volume']}"


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was accepted now, or before under the same Idempotency-Key."""

    job_status: JobStatus
    replayed: bool

    @property
    def headers(self) -> dict[str, str]:
        return {"Idempotency-Replayed": "true"} if self.replayed else {}


def _answer_for(new: NewJob) -> Response:
    preference = preferences(request, current_services().config.max_wait)
    submitted = accept_job(replace(new, wants_reply=bool(preference.wait_s)))
    try:
        return _answer(submitted, preference)
    except redis.RedisError:
        # The job is accepted, and its client must get its id.
        return accepted_response(submitted.job_status, headers=submitted.headers | preference.headers(done=False))


def _answer(submitted: Submitted, preference: Preferences) -> Response:
    services, job_status, result = current_services(), submitted.job_status, b""
    if preference.wait_s and submitted.replayed:
        job_status = wait_for_end(services, job_status.job.id, preference.wait_s) or job_status
    elif preference.wait_s:
        job_status, result = wait_for_answer(services, job_status, preference.wait_s)
    if preference.wait_s is not None and (result or job_status.job.done):
        return _final(job_status, result, submitted.headers | preference.headers(done=True))
    return accepted_response(job_status, headers=submitted.headers | preference.headers(done=False))


def _final(job_status: JobStatus, result: bytes, headers: Mapping[str, str]) -> Response:
    try:
        if result:
            response = _success(job_status.job, result)
        else:
            response = final_response(
                job_status, job_status.result or current_services().jobs.result(job_status.job.id)
            )
    except Problem as problem:
        problem.headers.update(headers)
        raise
    response.headers.update(headers)
    return response


def accept_job(new: NewJob) -> Submitted:
    """Record a job.

    Raises:
        Problem: nothing was accepted, or the Idempotency-Key was used for another request.
    """
    return to_submitted(new, *current_services().jobs.accept(new))


def to_submitted(new: NewJob, outcome: SubmitOutcome, job_id: str, job_status: JobStatus | None) -> Submitted:
    """Return the job that answers a request, by the outcome of its submission.

    Raises:
        Problem: as ``accept_job``.
    """
    if outcome.is_refused:
        raise refusal(new, outcome)
    if outcome is SubmitOutcome.REUSED:
        raise key_reused(job_id)
    if job_status is None:
        raise Problem("job-expired", "The job of this Idempotency-Key has expired.")
    return Submitted(job_status, outcome is SubmitOutcome.REPLAYED)


def known_request(key: str) -> KnownRequest | None:
    """Return how this request was accepted before under its Idempotency-Key; None when it is new.

    Raises:
        Problem: the key was sent with another request.
    """
    earlier = current_services().idempotency_keys.find(idempotency_name(key_of(principal().owner), key))
    if earlier is not None and earlier.request_hash != request_hash():
        raise key_reused(earlier.job_id)
    return earlier


def freeze_choice(key: str, choice: Any) -> Any:
    """Record under its Idempotency-Key what a request for many jobs has chosen; return what was recorded first.

    Raises:
        Problem: the key was sent with another request at the same time.
    """
    name = idempotency_name(key_of(principal().owner), key)
    recorded = current_services().idempotency_keys.freeze(name, request_hash(), choice)
    if recorded.request_hash != request_hash():
        raise key_reused(recorded.job_id)
    return recorded.choice


def key_reused(job_id: str) -> Problem:
    """Return the problem for a key that was sent with another request, which made this job (empty: several jobs)."""
    return Problem(
        "idempotency-key-reused",
        "This Idempotency-Key was sent with another request before. Choose a new key for each new request.",
        headers=job_headers(job_id) if job_id else {},
    )
