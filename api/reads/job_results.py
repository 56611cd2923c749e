"""The result of a job that has ended, as the synchronous call would have returned it."""

from __future__ import annotations

from urllib.parse import parse_qsl

import orjson
from flask import Response, request
from werkzeug.datastructures import MultiDict

from api.http.problems import Problem
from api.jobs.submit import final_response, job_headers, result_expired
from api.reads.collection_query import no_query, parse_query
from api.reads.collection_response import respond
from api.reads.page_token import Page, bad_token, expired_token
from api.reads.read import with_age
from api.services import current_services
from worker.catalog.resource_types import ResourceType
from worker.jobs.record import Job, ListingVersion, State
from worker.jobs.status import JobStatus
from worker.listings.listing import Listing
from worker.listings.repository import ListingState


def result_of(job_status: JobStatus) -> Response:
    """Return the response of the synchronous call.

    Raises:
        Problem: it failed, was cancelled, has not ended, or its result has expired.
    """
    job = job_status.job
    if not job.done:
        headers = {"Retry-After": str(job_status.retry_after_s), **job_headers(job.id)}
        raise Problem("job-not-finished", "The job has not ended yet.", headers=headers)
    if job.state is State.SUCCEEDED and job.listing_version is not None:
        return _read(job_status, job.listing_version)
    arguments = no_query(request.args)
    assert arguments is not None  # noqa: S101 - it refuses every parameter
    return final_response(job_status, current_services().jobs.result(job.id))


def _read(job_status: JobStatus, listing_version: ListingVersion) -> Response:
    """Return the listing or object that the job has read, with the query of its request."""
    job = job_status.job
    resource_type = job.operation.reads
    assert resource_type is not None  # noqa: S101 - only reads have a generation
    sent = request.args or MultiDict(parse_qsl(job.query, keep_blank_values=True))
    query = parse_query(resource_type, sent) if resource_type.parent is None else no_query(sent)
    listing_state, listing = _listing(job_status, resource_type, listing_version, query.page)
    key = None if resource_type.parent is None else str(listing.records[0][resource_type.key_field])
    response = with_age(current_services(), listing_state, respond(listing, listing_state, query, key), "fwd=miss")
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers.update(job_headers(job.id))
    return response


def _listing(
    job_status: JobStatus, resource_type: ResourceType, of_job: ListingVersion, page: Page | None
) -> tuple[ListingState, Listing]:
    """Return the listing that the job has read; if that has expired, the current one, unless it is paged through."""
    services, job = current_services(), job_status.job
    version, as_of_ms = of_job, job.started_ms or job_status.now_ms
    if page is not None:
        version, as_of_ms = page.listing_version, page.as_of_ms
        if version.cache_key != of_job.cache_key:
            raise bad_token()
    listing = services.listing_cache.get(version, superseded=page is not None)
    if listing is None and version == of_job:
        listing = _stored(job, resource_type)
    if listing is None and page is not None:
        raise expired_token()
    if listing is None:
        now = services.listings.listing_state(resource_type, of_job.cache_key)
        listing = services.listing_cache.get(now.listing_version) if now.usable and now.listing_version else None
        version, as_of_ms = now.listing_version or version, now.as_of_ms
    if listing is None:
        raise result_expired(job.id)
    state = ListingState(version.cache_key, job_status.now_ms, version, as_of_ms, listing.count, listing.hash)
    return state, listing


def _stored(job: Job, resource_type: ResourceType) -> Listing | None:
    """Return the listing from the result of the job, which holds small ones."""
    stored = current_services().jobs.result(job.id)
    if stored is None:
        return None
    value = orjson.loads(stored)
    return Listing.of(
        resource_type.key_field, [value] if resource_type.single else value, ordered=resource_type.ordered
    )
