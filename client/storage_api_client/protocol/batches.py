"""Many changes in one order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storage_api_client.errors import BatchFailed
from storage_api_client.models import JobRecord, Problem
from storage_api_client.models.batches import MemberResult
from storage_api_client.protocol.asking import Context, ask, checked
from storage_api_client.protocol.changing import Change, Options, submit
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.following import Progressed, follow, job_path
from storage_api_client.protocol.messages import Flow, Request


def run_batch(context: Context, change: Change[Any], options: Options) -> Flow[tuple[MemberResult, ...]]:
    """Ask for a batch, wait for its end, and return what became of its members.

    Raises:
        BatchFailed: not all succeeded, or the batch was cancelled.
        StillRunning: it has not ended in time.
    """
    deadline = Deadline(options.timeout)
    accepted = yield from submit(context, change, options)
    return (yield from await_batch(context, accepted.id, deadline, options.on_progress))


def await_batch(
    context: Context, batch_id: str, deadline: Deadline, on_progress: Progressed | None = None
) -> Flow[tuple[MemberResult, ...]]:
    """Wait for the end of a batch, and return what became of its members."""
    job = yield from follow(context, batch_id, deadline, on_progress)
    results = yield from results_of(context, job, deadline)
    if job.state != "succeeded":
        raise BatchFailed(job.error or _cancelled(job), job, results)
    return results


def results_of(context: Context, job: JobRecord, deadline: Deadline) -> Flow[tuple[MemberResult, ...]]:
    """Return what became of the members of a batch that has ended, however it did."""
    request = Request("GET", (job.links and job.links.result) or f"{job_path(job.id)}/result")
    response = yield from ask(context, request, deadline)
    return members(checked(response, request))


def members(body: Sequence[Any] | None) -> tuple[MemberResult, ...]:
    """Return the models of a batch's result."""
    return tuple(MemberResult.of(member) for member in body or ())


def _cancelled(job: JobRecord) -> Problem:
    detail = f"Batch {job.id} was cancelled before all of it was done."
    return Problem(title="Job cancelled", code="job-cancelled", detail=detail)
