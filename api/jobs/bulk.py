"""All jobs that a filter names, cancelled or done again in one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from api.auth import principal
from api.http.problems import Problem, invalid
from api.jobs.access import may_stop
from api.jobs.listing import job_filter, job_scope
from api.jobs.submit import accept_job, retry_request
from api.services import current_services
from worker.jobs.query import JobFilter
from worker.jobs.record import Job, State
from worker.jobs.service import NewJob
from worker.store.results import CancelResult

#: At most so many jobs in one request.
MOST_JOBS = 1000
_UNFINISHED = (State.QUEUED, State.RUNNING, State.CANCELLING)
_REPEATABLE = (State.FAILED, State.CANCELLED)
_REFUSALS = {
    CancelResult.SHARED: "job-shared",
    CancelResult.TOO_LATE: "job-not-cancellable",
    CancelResult.GONE: "job-expired",
}


def cancel_jobs(query: Mapping[str, Any]) -> dict[str, Any]:
    """Ask every job that the filter names to stop.

    Raises:
        Problem: `validation-failed`: there is no filter.
    """
    cancelled, refused = _each(query, _UNFINISHED, _cancel)
    return {"cancelled": cancelled, "refused": refused}


def retry_jobs(query: Mapping[str, Any], retry_batch: Callable[[Job], str]) -> dict[str, Any]:
    """Do every failed or cancelled job that the filter names again; ``retried`` has the ids of the new jobs.

    With an Idempotency-Key the same request makes no second ones. ``retry_batch`` does a batch again, and returns the
    id of the new one.

    Raises:
        Problem: `validation-failed`: there is no filter.
    """
    made: list[str] = []
    _, refused = _each(query, _REPEATABLE, lambda job: _retry(job, made, retry_batch))
    return {"retried": made, "refused": refused}


def _each(
    query: Mapping[str, Any], first: tuple[State, ...], action: Callable[[Job], str]
) -> tuple[list[str], list[dict[str, str]]]:
    """Do it to each job; the ids of those to which it was done, and of the others with why it was not."""
    if not query.keys() - {"all"}:
        raise invalid("", "must have at least one filter besides all")
    done: list[str] = []
    refused: list[dict[str, str]] = []
    for job in list(islice(_named(query, first), MOST_JOBS)):
        code = action(job)
        if code:
            refused.append({"id": job.id, "code": code})
        else:
            done.append(job.id)
    return done, refused


def _named(query: Mapping[str, Any], first: tuple[State, ...]) -> Iterator[Job]:
    """The jobs that the filter names: those in the states ``first`` before the others."""
    wanted = job_filter(query)
    for states in (first, tuple(state for state in State if state not in first)):
        chosen = tuple(state for state in wanted.states or tuple(State) if state in states)
        if chosen:
            yield from _found(query, replace(wanted, states=chosen))


def _found(query: Mapping[str, Any], wanted: JobFilter) -> list[Job]:
    found, _ = current_services().jobs.find(wanted, job_scope(query), MOST_JOBS)
    return [each.job for each in found]


def _cancel(job: Job) -> str:
    if not may_stop(job):
        return "missing-role"
    services = current_services()
    result = (services.batches if job.is_batch else services.jobs).cancel(job.id, principal().name)
    if result is CancelResult.TOO_LATE and not job.done:
        # It may have been cancelled just now, with its batch.
        now = services.jobs.get(job.id)
        return "" if now is not None and now.job.state is State.CANCELLED else _REFUSALS[result]
    return _REFUSALS.get(result, "")


def _retry(job: Job, made: list[str], retry_batch: Callable[[Job], str]) -> str:
    if not job.roles <= principal().roles:
        return "missing-role"
    if job.state not in _REPEATABLE:
        return "job-not-retryable" if job.done else "job-not-finished"
    try:
        if job.is_batch:
            made.append(retry_batch(job))
        else:
            made.append(accept_job(_with_own_key(job, retry_request(job, keyed=True))).job_status.job.id)
    except Problem as problem:
        return problem.code
    return ""


def _with_own_key(job: Job, new: NewJob) -> NewJob:
    """The request's Idempotency-Key counts for each of its jobs by itself."""
    return replace(new, idempotency_key=f"{new.idempotency_key} {job.id}") if new.idempotency_key else new
