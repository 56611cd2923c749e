"""Batches: many changes in one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storage_api_client.errors import BatchFailed, StorageApiError
from storage_api_client.models import JobRecord, Problem
from storage_api_client.models.batches import MemberResult
from storage_api_client.protocol.changes import Change, Options, submit
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.messages import Flow, Request
from storage_api_client.protocol.polling import ProgressCallback, job_path, poll_until_done
from storage_api_client.protocol.retries import Context, checked, send_with_retries


def run_batch(context: Context, change: Change[Any], options: Options) -> Flow[tuple[MemberResult, ...]]:
    """Submit a batch, wait for it, and return the results of its members.

    Raises:
        BatchFailed: not all succeeded, or the batch was cancelled.
        StillRunning: it has not ended in time.
    """
    deadline = Deadline(options.timeout)
    accepted = yield from submit(context, change, options)
    try:
        return (yield from await_batch(context, accepted.id, deadline, options.on_progress))
    except StorageApiError as error:
        error.job = error.job or accepted
        raise


def await_batch(
    context: Context, batch_id: str, deadline: Deadline, on_progress: ProgressCallback | None = None
) -> Flow[tuple[MemberResult, ...]]:
    """Wait for a batch, and return the results of its members."""
    job = yield from poll_until_done(context, batch_id, deadline, on_progress)
    results = yield from results_of(context, job, deadline)
    if job.state != "succeeded":
        raise BatchFailed(job.error or _cancelled(job), job, results)
    return results


def results_of(context: Context, job: JobRecord, deadline: Deadline) -> Flow[tuple[MemberResult, ...]]:
    """Return the results of the members of a batch that is done, whatever its state."""
    request = Request("GET", (job.links and job.links.result) or f"{job_path(job.id)}/result")
    response = yield from send_with_retries(context, request, deadline)
    return members(checked(response, request))


def members(body: Sequence[Any] | None) -> tuple[MemberResult, ...]:
    """Return the models of a batch's result."""
    return tuple(MemberResult.of(member) for member in body or ())


def _cancelled(job: JobRecord) -> Problem:
    detail = f"Batch {job.id} was cancelled before all of it was done."
    return Problem(title="Job cancelled", code="job-cancelled", detail=detail)
