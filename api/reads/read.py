"""Reads below /v4: 200 with the requested representation, or 202 with the job that reads it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

from flask import Response, request

from api.http.preferences import freshness, preferences
from api.jobs.submit import accepted_response
from api.reads.collection_query import no_query, parse_query
from api.reads.collection_response import respond
from api.reads.lookup import Pending, ReadResult, find
from api.reads.read_request import ReadRequest
from api.response_cache import middleware as response_cache
from api.services import Services, current_services
from worker.catalog.operations import Operation
from worker.listings.repository import ListingState


def read(operation: Operation, subsystem: str, arguments: Mapping[str, Any]) -> Response:
    """Answer a read.

    Raises:
        Problem: it fails, or is not valid.
    """
    resource_type = operation.reads
    assert resource_type is not None  # noqa: S101 - a route that reads names an operation that reads
    services = current_services()
    query = parse_query(resource_type, request.args) if resource_type.parent is None else no_query(request.args)
    sent_query = request.query_string.decode("ascii", "replace")
    read_request = ReadRequest(
        services,
        operation,
        resource_type,
        subsystem,
        arguments,
        query,
        freshness(request),
        services.config.read_wait,
        preferences(request, services.config.max_wait),
        sent_query=sent_query,
    )
    result = find(read_request)
    if isinstance(result, Pending):
        return accepted_response(result.job_status, headers=result.headers, query=sent_query)
    return with_headers(result, respond(result.listing, result.listing_state, query, result.key))


def with_headers(result: ReadResult, response: Response) -> Response:
    """Add the headers about age, cache and job; mark the response as cacheable if it is."""
    services, cache_control = result.read_request.services, result.read_request.cache_control
    with_age(services, result.listing_state, response, result.status)
    response.headers.update(result.headers)
    if result.is_cacheable:
        parent_key = result.read_request.parent_key
        fresh_s = services.settings.cache_fresh
        fresh_s = fresh_s if cache_control.max_age_s is None else min(fresh_s, cache_control.max_age_s)
        response_cache.mark_cacheable(services, result.listing_state, parent_key, response.get_data(), fresh_s)
    return response


def with_age(services: Services, listing_state: ListingState, response: Response, status: str = "") -> Response:
    """Add the response's age, and Cache-Status (RFC 9211)."""
    settings = services.settings
    ttl_s = settings.cache_fresh - listing_state.age_s
    response.headers["Age"] = str(listing_state.age_s)
    # Never later than Date, which is of this host's clock (RFC 9110, section 8.8.2.1); the listing's time is Redis's.
    last_modified_s = min(listing_state.modified_ms / 1000, time.time())
    response.headers["Last-Modified"] = formatdate(last_modified_s, usegmt=True)
    response.headers["Cache-Control"] = (
        f"private, max-age={settings.cache_fresh}, stale-while-revalidate={settings.cache_stale}"
    )
    response.headers["Cache-Status"] = f"storage-api; {status or f'hit; ttl={ttl_s}'}"
    return response
