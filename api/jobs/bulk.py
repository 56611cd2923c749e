"""Cancels or retries all jobs that match a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from api.auth import audit, principal
from api.http.problems import Problem, invalid
from api.jobs.access import may_stop
from api.jobs.listing import job_filter, job_scope
from api.jobs.new_job import idempotency_key
from api.jobs.submit import accept_job, freeze_choice, known_request, retry_request
from api.services import current_services
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import Job, State
from worker.jobs.service import NewJob
from worker.store.client import REDIS_UNAVAILABLE, ReplyLost
from worker.store.results import CancelResult

#: The maximum number of jobs in one request.
MOST_JOBS = 1000
_UNFINISHED = (State.QUEUED, State.RUNNING, State.CANCELLING)
_REPEATABLE = (State.FAILED, State.CANCELLED)
_REFUSALS = {
    CancelResult.SHARED: "job-shared",
    CancelResult.TOO_LATE: "job-not-cancellable",
    CancelResult.GONE: "job-expired",
}


def cancel_jobs(query: Mapping[str, Any]) -> dict[str, Any]:
    """Request cancellation of every job that matches the filter.

    Raises:
        Problem: `validation-failed`: there is no filter.
    """
    codes = {job.id: _cancel(job) for job in _matching_jobs(query, _UNFINISHED)}
    return {"cancelled": [job_id for job_id, code in codes.items() if not code], "refused": _refused(codes)}


def retry_jobs(query: Mapping[str, Any], retry_batch: Callable[[Job], str]) -> dict[str, Any]:
    """Retry every failed or cancelled job that matches the filter; ``retried`` has the ids of the new jobs.

    With an Idempotency-Key, the same request makes no further jobs. ``retry_batch`` retries a batch, and returns the
    id of the new one.

    Raises:
        Problem: `validation-failed`: there is no filter; `idempotency-key-reused`.
    """
    key = idempotency_key()
    earlier = known_request(key)
    codes = earlier.choice if earlier else _retry_codes(_matching_jobs(query, _REPEATABLE))
    if key and earlier is None:
        codes = freeze_choice(key, codes)
    made: list[str] = []
    tried = _by_id(job_id for job_id, code in codes.items() if not code)
    try:
        codes |= {job_id: _retry(job, made, retry_batch) for job_id, job in tried.items()}
    except REDIS_UNAVAILABLE as error:
        if not made:
            raise
        # The answer must not say that nothing was accepted.
        raise ReplyLost(str(error)) from error
    return {"retried": made, "refused": _refused(codes)}


def _refused(codes: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"id": job_id, "code": code} for job_id, code in codes.items() if code]


def _matching_jobs(query: Mapping[str, Any], first: tuple[State, ...]) -> list[Job]:
    """Return at most `MOST_JOBS` jobs that match the filter: those in the states ``first`` before the others."""
    if not query.keys() - {"all"}:
        raise invalid("", "must have at least one filter besides all")
    requested, jobs = job_filter(query), list[Job]()
    for states in (first, tuple(state for state in State if state not in first)):
        chosen = tuple(state for state in requested.states or tuple(State) if state in states)
        if chosen and len(jobs) < MOST_JOBS:
            jobs += _find_jobs(replace(requested, states=chosen), job_scope(query), MOST_JOBS - len(jobs))
    return jobs


def _find_jobs(filter_: JobFilter, scope: JobScope, limit: int) -> list[Job]:
    return [job_status.job for job_status in current_services().jobs.find(filter_, scope, limit)[0]]


def _by_id(ids: Iterable[str]) -> dict[str, Job | None]:
    """Return the jobs of these ids, in this order; None for those whose records have expired."""
    job_ids = tuple(ids)
    everything = JobScope(everybody=True)
    jobs = {job.id: job for job in _find_jobs(JobFilter(ids=job_ids), everything, MOST_JOBS)} if job_ids else {}
    return {job_id: jobs.get(job_id) for job_id in job_ids}


def _record(operation: str, job: Job, new_id: str = "", code: str = "") -> None:
    """Write to the audit log what is done with a job, or that a role is missing for it."""
    refusal = {"allowed": False, "reason": code} if code else {}
    audit.record_part(operation=operation, target=job.target, job_id=new_id or job.id, **refusal)


def _cancel(job: Job) -> str:
    if not may_stop(job):
        _record("cancel_job", job, code="missing-role")
        return "missing-role"
    services = current_services()
    result = (services.batches if job.is_batch else services.jobs).cancel(job.id, principal().name)
    if result not in _REFUSALS:
        _record("cancel_job", job)
    if result is CancelResult.TOO_LATE and not job.done:
        # It may just have been cancelled with its batch.
        now = services.jobs.get(job.id)
        return "" if now is not None and now.job.state is State.CANCELLED else _REFUSALS[result]
    return _REFUSALS.get(result, "")


def _retry_codes(jobs: Sequence[Job]) -> dict[str, str]:
    """Return an empty code for jobs to retry, and the reason for the others; members are retried with their batch."""
    codes = {job.id: _unfit_for_retry(job) for job in jobs}
    return {job.id: codes[job.id] for job in jobs if codes.get(job.batch) != ""}


def _unfit_for_retry(job: Job) -> str:
    """Return the code of why this user cannot retry a job; empty when they can."""
    if not job.roles <= principal().roles:
        _record("retry_job", job, code="missing-role")
        return "missing-role"
    if job.state not in _REPEATABLE:
        return "job-not-retryable" if job.done else "job-not-finished"
    return ""


def _retry(job: Job | None, made: list[str], retry_batch: Callable[[Job], str]) -> str:
    if job is None:
        return "job-expired"
    try:
        if job.is_batch:
            made.append(retry_batch(job))
        else:
            made.append(accept_job(_with_key_of_job(job, retry_request(job, keyed=True))).job_status.job.id)
    except Problem as problem:
        return problem.code
    _record("retry_job", job, made[-1])
    return ""


def _with_key_of_job(job: Job, new: NewJob) -> NewJob:
    """Give each job a key of its own, derived from the request's Idempotency-Key."""
    return replace(new, idempotency_key=f"{new.idempotency_key} {job.id}") if new.idempotency_key else new
