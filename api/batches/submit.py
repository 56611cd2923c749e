"""Turns a request for a batch into jobs, all or none; answers 202, or with the results if they are there in time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import redis
from flask import Response, request

from api.auth import principal
from api.batches.batch_request import parse_batch_request
from api.batches.planning import plan
from api.batches.results import batch_result
from api.http.preconditions import reject_preconditions
from api.http.preferences import Preferences, preferences
from api.http.problems import Problem
from api.http.request_ids import request_id
from api.jobs.long_polling import wait_for_end
from api.jobs.new_job import callback_url, idempotency_key, request_hash
from api.jobs.submit import (
    Submitted,
    accepted_response,
    known_request,
    retry_request,
    to_submitted,
)
from api.services import current_services
from worker.jobs.batches import NewBatch
from worker.jobs.record import Job, State
from worker.jobs.service import NewJob
from worker.store.results import SubmitOutcome


def submit_batch(body: Mapping[str, Any]) -> Response:
    """Answer a request for a batch, whose body its schema has validated.

    Raises:
        Problem: nothing was accepted.
    """
    reject_preconditions()
    config, began = current_services().config, time.monotonic()
    preference = preferences(request, config.max_wait)
    key = idempotency_key()
    replayed = _replayed(key)
    if replayed is not None:
        return _answer(replayed, preference, 0.0)
    requested = parse_batch_request(body, config.read_wait if preference.wait_s is None else preference.wait_s)
    new = _new_batch(
        plan(requested.members), requested.request, requested.parallel, key, stops=requested.stops_on_failure
    )
    return _answer(_accept(new), preference, time.monotonic() - began)


def retry_batch(job: Job) -> Response:
    """Answer a request to retry those members of a failed or cancelled batch that did not succeed.

    Raises:
        Problem: nothing was accepted.
    """
    key = idempotency_key()
    accepted = _replayed(key) or _accept(_retry_of(job, key))
    return _answer(accepted, preferences(request, current_services().config.max_wait), 0.0)


def accept_batch_retry(job: Job) -> str:
    """As ``retry_batch``, for one of several batches in one request; return the id of the new batch."""
    key = idempotency_key()
    return _accept(_retry_of(job, key and f"{key} {job.id}")).job_status.job.id


def _retry_of(job: Job, key: str) -> NewBatch:
    jobs = [status.job for _, status in current_services().batches.members(job.id) if status is not None]
    repeated = [retry_request(member) for member in jobs if member.state in (State.FAILED, State.CANCELLED)]
    # The request's callback is the batch's.
    members = [replace(member, callback="") for member in repeated]
    assert job.children is not None  # noqa: S101 - every batch counts its members
    if missing := job.children["total"] - job.children["succeeded"] - len(members):
        detail = f"The records of {missing} of the members that did not succeed are kept no longer."
        raise Problem("job-expired", f"{detail} Nothing was accepted; submit what is still wanted as a new batch.")
    document = {**job.request, "retries": job.id}
    parallel, on_failure = int(job.request["parallel"]), job.request["on_failure"]
    return _new_batch(members, document, parallel, key, stops=on_failure == "stop", retry_of=job.id)


def _new_batch(
    members: Sequence[NewJob], document: Mapping[str, Any], parallel: int, key: str, *, stops: bool, retry_of: str = ""
) -> NewBatch:
    return NewBatch(
        members=members,
        request=document,
        parallel=parallel,
        stops_on_failure=stops,
        target="/v4/batches",
        requester=principal().name,
        request_id=request_id(),
        retry_of=retry_of,
        idempotency_key=key,
        request_hash=request_hash() if key else "",
        callback=callback_url(),
    )


def _replayed(key: str) -> Submitted | None:
    """The batch that the same request made before, whatever it would choose or refuse now."""
    earlier = known_request(key)
    if earlier is None:
        return None
    job_status = current_services().jobs.get(earlier.job_id)
    if job_status is None:
        raise Problem("job-expired", "The job of this Idempotency-Key has expired.")
    return Submitted(job_status, replayed=True)


def _answer(accepted: Submitted, preference: Preferences, spent_s: float) -> Response:
    """``spent_s``: how long the request has taken already (seconds)."""
    job_status = accepted.job_status
    try:
        if preference.wait_s:
            left_s = max(0.0, preference.wait_s - spent_s)
            job_status = wait_for_end(current_services(), job_status.job.id, left_s) or job_status
        if preference.wait_s is not None and job_status.job.done:
            response = batch_result(job_status)
            response.headers.update(accepted.headers | preference.headers(done=True))
            return response
    except redis.RedisError:
        # The batch is accepted, and its client must get its id.
        job_status = accepted.job_status
    return accepted_response(job_status, headers=accepted.headers | preference.headers(done=False))


def _accept(new: NewBatch) -> Submitted:
    outcome, batch_id, job_status = current_services().batches.accept(new)
    if outcome is SubmitOutcome.CHANGED:
        detail = "Recording the batch took too long, so that it was taken back. Nothing was accepted."
        raise Problem("queue-unavailable", detail, headers={"Retry-After": "5"})
    return to_submitted(new.members[0], outcome, batch_id, job_status)
