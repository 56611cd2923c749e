"""Submits changes; an idempotency key makes sure that retries are executed once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from storage_api_client.errors import Refused, StorageApiError, error_of
from storage_api_client.models import JobRecord, Problem
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.messages import Flow, Request, Response
from storage_api_client.protocol.polling import (
    POLL_S,
    ProgressCallback,
    get_job,
    get_result,
    poll_until_done,
    raise_failed,
    raise_unless_succeeded,
)
from storage_api_client.protocol.retries import Context, checked, problem_of, send_with_retries

T = TypeVar("T")
_ACCEPTED = 202
_LONGEST_KEY = 255
#: With a progress callback, the job's id is needed soon.
_FIRST_WAIT_S = 1.0


@dataclass(frozen=True)
class Change(Generic[T]):
    """A change, submitted by itself or in a batch.

    Attributes:
        result: converts the body of the response to the return value.
    """

    method: str
    path: str
    result: Callable[[Any], T]
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Options:
    """Options of a change.

    Attributes:
        timeout: the time limit of the call (seconds); None: the client's default.
        idempotency_key: sent with each attempt; None: a new one.
        on_progress: called with the job each time that it has changed.
        headers: further headers.
    """

    timeout: float | None = None
    idempotency_key: str | None = None
    on_progress: ProgressCallback | None = None
    headers: Mapping[str, str] | None = None


def perform(context: Context, change: Change[T], options: Options) -> Flow[T]:
    """Submit a change, wait for its job, and return the result.

    Raises:
        StorageApiError: the change was refused, did not succeed, or has not ended in time.
    """
    deadline = Deadline(options.timeout)
    wait_s = min(_FIRST_WAIT_S if options.on_progress else POLL_S, deadline.left_s)
    request = _request(change, options, wait_s)
    response = yield from send_with_retries(context, request, deadline, wait_s=wait_s)
    if response.status == _ACCEPTED:
        accepted = JobRecord.of(checked(response, request))
        return change.result((yield from _to_the_end(context, accepted, deadline, options.on_progress)))
    if "operation-location" in response.headers and response.is_problem:
        yield from _raise_end(context, response, request, deadline)
    return change.result(checked(response, request))


def submit(context: Context, change: Change[Any], options: Options) -> Flow[JobRecord]:
    """Submit a change, and return its job without waiting for it."""
    deadline = Deadline(options.timeout)
    request = _request(change, options, 0)
    response = yield from send_with_retries(context, request, deadline)
    return JobRecord.of(checked(response, request))


def _to_the_end(
    context: Context, job: JobRecord, deadline: Deadline, on_progress: ProgressCallback | None
) -> Flow[Any]:
    try:
        if on_progress:
            on_progress(job)
        job = yield from poll_until_done(context, job.id, deadline, on_progress)
        raise_unless_succeeded(job)
        return (yield from get_result(context, job, deadline))
    except StorageApiError as error:
        error.job = error.job or job
        raise


def _raise_end(context: Context, response: Response, request: Request, deadline: Deadline) -> Flow[None]:
    """Raise the error of a response that reports the outcome of a job."""
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
        return None  # The response itself has the problem.


def _request(change: Change[Any], options: Options, wait_s: float) -> Request:
    headers = {**idempotency_header(options.idempotency_key), **(options.headers or {})}
    if wait_s >= 1:
        headers["Prefer"] = f"wait={int(wait_s)}"
    return Request(change.method, change.path, headers=headers, body=change.body)


def idempotency_header(key: str | None) -> dict[str, str]:
    """Return the header with the given key, or with a new one.

    Raises:
        Refused: the key is not valid.
    """
    key = str(uuid.uuid4()) if key is None else key
    if not 0 < len(key) <= _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise no_change(f"The idempotency key must be 1 to {_LONGEST_KEY} printable ASCII characters.")
    return {"Idempotency-Key": key}


def nothing(body: Any) -> None:
    """The result of a change without a result."""


def no_change(detail: str) -> Refused:
    """Return the error for an invalid request, detected before it is sent."""
    return Refused(Problem(title="Validation failed", status=422, code="validation-failed", detail=detail))
