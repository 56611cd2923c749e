"""Making a change: once, however often it has to be asked for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from storage_api_client.errors import Refused, StorageApiError, error_of
from storage_api_client.models import JobRecord, Problem
from storage_api_client.protocol.asking import Context, ask, checked, problem_of
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.following import (
    POLL_S,
    Progressed,
    follow,
    get_job,
    raise_failed,
    raise_unless_succeeded,
    value_of,
)
from storage_api_client.protocol.messages import Flow, Request, Response

T = TypeVar("T")
_ACCEPTED = 202
#: Where progress is to be shown, the job's id is wanted soon.
_FIRST_WAIT_S = 1.0


@dataclass(frozen=True)
class Change(Generic[T]):
    """A change that can be asked for, by itself or in a batch.

    Attributes:
        result: makes what the caller gets of the answer's body.
    """

    method: str
    path: str
    result: Callable[[Any], T]
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Options:
    """How to ask for a change.

    Attributes:
        timeout: seconds after which nobody waits any longer; None: the client's default.
        idempotency_key: sent with every try; None: a new one.
        on_progress: called with the job each time that it has changed.
        headers: further headers.
    """

    timeout: float | None = None
    idempotency_key: str | None = None
    on_progress: Progressed | None = None
    headers: Mapping[str, str] | None = None


def perform(context: Context, change: Change[T], options: Options) -> Flow[T]:
    """Make a change, wait for its end, and return what it led to.

    Raises:
        StorageApiError: it was refused, did not succeed, or has not ended in time.
    """
    deadline = Deadline(options.timeout)
    wait_s = min(_FIRST_WAIT_S if options.on_progress else POLL_S, deadline.left_s)
    request = _request(change, options, wait_s)
    response = yield from ask(context, request, deadline, wait_s=wait_s)
    if response.status == _ACCEPTED:
        accepted = JobRecord.of(checked(response, request))
        return change.result((yield from _to_the_end(context, accepted, deadline, options.on_progress)))
    if "operation-location" in response.headers and response.is_problem:
        yield from _raise_end(context, response, request, deadline)
    return change.result(checked(response, request))


def submit(context: Context, change: Change[Any], options: Options) -> Flow[JobRecord]:
    """Ask for a change, and return its job without waiting for its end."""
    deadline = Deadline(options.timeout)
    request = _request(change, options, 0)
    response = yield from ask(context, request, deadline)
    return JobRecord.of(checked(response, request))


def _to_the_end(context: Context, job: JobRecord, deadline: Deadline, on_progress: Progressed | None) -> Flow[Any]:
    try:
        if on_progress:
            on_progress(job)
        job = yield from follow(context, job.id, deadline, on_progress)
        raise_unless_succeeded(job)
        return (yield from value_of(context, job, deadline))
    except StorageApiError as error:
        error.job = error.job or job
        raise


def _raise_end(context: Context, response: Response, request: Request, deadline: Deadline) -> Flow[None]:
    """Raise what an answer says that tells the end of a job."""
    problem = problem_of(response, request)
    if problem.code == "idempotency-key-reused":
        raise Refused(problem)
    job = yield from _job_at(context, response.headers["operation-location"], deadline)
    if job is None:
        raise_failed(problem, None)
    raise_unless_succeeded(job)
    raise error_of(problem, job)


def _job_at(context: Context, location: str, deadline: Deadline) -> Flow[JobRecord | None]:
    try:
        return (yield from get_job(context, location.rpartition("/")[2], deadline))
    except StorageApiError:
        return None  # What the answer itself says is enough.


def _request(change: Change[Any], options: Options, wait_s: float) -> Request:
    headers = {"Idempotency-Key": options.idempotency_key or str(uuid.uuid4()), **(options.headers or {})}
    if wait_s >= 1:
        headers["Prefer"] = f"wait={int(wait_s)}"
    return Request(change.method, change.path, headers=headers, body=change.body)


def nothing(body: Any) -> None:
    """The result of a change that leads to nothing."""


def no_change(detail: str) -> Refused:
    """Return the error for a request that makes no sense, found out before it is sent."""
    return Refused(Problem(title="Validation failed", status=422, code="validation-failed", detail=detail))
