"""Jobs: finding, cancelling, doing again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from storage_api_client.errors import Refused
from storage_api_client.models import JobRecord
from storage_api_client.protocol.changes import Change, idempotency_header, no_change
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.messages import Flow, Request
from storage_api_client.protocol.polling import get_job, job_path
from storage_api_client.protocol.reads import Read
from storage_api_client.protocol.retries import Context, checked, send_with_retries
from storage_api_client.times import format_time, parse_since

_TIMES = ("created_after", "created_before", "finished_after", "finished_before")


class JobFilter(TypedDict, total=False):
    """Which jobs: all conditions must hold.

    Attributes:
        all: everybody's, as far as one may see them; else one's own.
        state: one, or several; likewise operation.
        id: ids.
        created_after: a datetime, RFC 3339, or how long ago ("2h"); likewise the other times.
    """

    all: bool
    state: str | Iterable[str]
    operation: str | Iterable[str]
    subsystem: str
    volume: str
    batch: str
    requested_by: str
    id: str | Iterable[str]
    created_after: datetime | str
    created_before: datetime | str
    finished_after: datetime | str
    finished_before: datetime | str


def filter_query(chosen: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return a filter as query parameters.

    Raises:
        Refused: a condition is empty; left out, it would choose more jobs than the caller meant.
    """
    return tuple(
        (name, _text(name, value)) for name, value in chosen.items() if value is not None and value is not False
    )


def _text(name: str, value: Any) -> str:
    if value is True:
        return "true"
    if isinstance(value, datetime):
        return format_time(value)
    text = value if isinstance(value, str) else ",".join(value)
    if not text:
        raise no_change(f"The condition {name!r} is empty and chooses no job: give it a value, or leave it out.")
    return parse_since(text) if name in _TIMES else text


def list_jobs(chosen: Mapping[str, Any]) -> Read[JobRecord]:
    """Jobs, the newest first."""
    return Read("/v4/jobs", JobRecord.of, filter_query(chosen))


def retry_job(job_id: str) -> Change[Any]:
    """A failed or cancelled job, done again by a new one."""
    return Change("POST", f"{job_path(job_id)}/retry", _same, {})


def _same(body: Any) -> Any:
    return body


@dataclass(frozen=True)
class BulkResult:
    """What came of cancelling or retrying many jobs.

    Attributes:
        done: ids: of the jobs that were cancelled, or of the new jobs.
        refused: id and code of each job that could not be.
    """

    done: tuple[str, ...]
    refused: tuple[Mapping[str, str], ...]


def cancel(context: Context, job_id: str, timeout: float | None) -> Flow[JobRecord]:
    """Ask a job to stop.

    Raises:
        Refused: it has ended, or its change has gone too far.
    """
    deadline = Deadline(timeout)
    request = Request("POST", f"{job_path(job_id)}/cancel")
    response = yield from send_with_retries(context, request, deadline)
    try:
        return JobRecord.of(checked(response, request))
    except Refused:
        job = yield from get_job(context, job_id, deadline)
        if job.state not in ("cancelling", "cancelled"):
            raise
        return job  # It was asked to before, perhaps by a request whose answer was lost.


def settle(context: Context, job_id: str, outcome: str, timeout: float | None) -> Flow[JobRecord]:
    """Say what became of a change whose outcome is being looked for."""
    request = Request("POST", f"{job_path(job_id)}/settle", body={"outcome": outcome})
    response = yield from send_with_retries(context, request, Deadline(timeout))
    return JobRecord.of(checked(response, request))


def cancel_in_bulk(context: Context, chosen: Mapping[str, Any], timeout: float | None) -> Flow[BulkResult]:
    """Cancel all jobs that match a filter."""
    request = Request("POST", "/v4/jobs/cancel", body=_body(chosen))
    response = yield from send_with_retries(context, request, Deadline(timeout))
    body = checked(response, request)
    return BulkResult(tuple(body.get("cancelled", ())), tuple(body.get("refused", ())))


def retry_in_bulk(
    context: Context, chosen: Mapping[str, Any], timeout: float | None, key: str | None = None
) -> Flow[BulkResult]:
    """Retry all jobs that match a filter; with the same ``key`` and filter they are the same new jobs.

    Raises:
        OutcomeUnknown: there was no answer in time; ``idempotency_key`` is that of the request.
    """
    request = Request("POST", "/v4/jobs/retry", headers=idempotency_header(key), body=_body(chosen))
    response = yield from send_with_retries(context, request, Deadline(timeout))
    body = checked(response, request)
    return BulkResult(tuple(body.get("retried", ())), tuple(body.get("refused", ())))


def _body(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A filter as a JSON body: as its query parameters, but for what is true or false."""
    return {name: value == "true" if name == "all" else value for name, value in filter_query(chosen)}
