"""What the synchronous call would have answered, from what a job that has ended left behind."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qsl

import orjson
from flask import Response, request
from werkzeug.datastructures import MultiDict

from api.http.problems import Problem
from api.http.success_status import success_status
from api.jobs.submit import final_response, job_headers
from api.reads import collection_query as collections
from api.reads.read import with_age
from api.services import parts
from worker.catalog.resource_types import View
from worker.jobs.record import Generation, Job, State
from worker.jobs.status import ShownJob
from worker.listings.listing import Listing
from worker.listings.repository import Standing


def result_of(shown: ShownJob) -> Response:
    """Answer as the call would have.

    Raises:
        Problem: it failed, was cancelled, has not ended, or its result is kept no longer.
    """
    job = shown.job
    if not job.done:
        headers = {"Retry-After": str(shown.retry_after_s), **job_headers(job.id)}
        raise Problem("job-not-finished", "The job has not ended yet.", headers=headers)
    if job.state is State.SUCCEEDED and job.generation is not None:
        return _read(shown, job.generation)
    arguments = collections.nothing(request.args)
    assert arguments is not None  # noqa: S101 - it refuses every parameter
    if job.state is not State.SUCCEEDED:
        return final_response(shown, None)
    result = parts().jobs.result(job.id)
    if result is None and success_status(job.operation) != HTTPStatus.NO_CONTENT:
        raise _expired(job)
    return final_response(shown, result)


def _read(shown: ShownJob, generation: Generation) -> Response:
    """The listing that the job made, or the object, as the request that it was made for asked for it."""
    job = shown.job
    view = job.operation.reads
    assert view is not None  # noqa: S101 - only reads have a generation
    sent = request.args or MultiDict(parse_qsl(job.query, keep_blank_values=True))
    query = collections.parse(view, sent) if view.parent is None else collections.nothing(sent)
    listing = _listing(job, view, generation)
    if view.single and not listing.records:
        raise _expired(job)
    key = None if view.parent is None else str(listing.records[0][view.key_field])
    as_of_ms = job.started_ms or shown.now_ms
    standing = Standing(generation.thing, shown.now_ms, generation, as_of_ms, listing.count, listing.hash)
    response = with_age(parts(), standing, collections.respond(listing, standing, query, key), "fwd=miss")
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers.update(job_headers(job.id))
    return response


def _listing(job: Job, view: View, generation: Generation) -> Listing:
    """What the job read; where that is kept no longer, the same as it is known now."""
    held = parts()
    listing = held.hot.get(generation)
    if listing is None and (stored := held.jobs.result(job.id)) is not None:
        value = orjson.loads(stored)
        listing = Listing.of(view.key_field, [value] if view.single else value, ordered=view.ordered)
    if listing is None:
        now = held.listings.standing(view, generation.thing)
        listing = held.hot.get(now.generation) if now.usable and now.generation else None
    if listing is None:
        raise _expired(job)
    return listing


def _expired(job: Job) -> Problem:
    return Problem("result-expired", "The job's result is kept no longer.", headers=job_headers(job.id))
