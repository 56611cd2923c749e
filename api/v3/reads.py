"""Reads below /v3: as below /v4, but held open until there is a result that is fresh enough."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from flask import Response, g, request

from api.http.preferences import Preferences, RequestCacheControl, freshness, takes_gzip
from api.http.problems import Problem
from api.reads.collection_query import Query
from api.reads.collection_response import client_has, content_tag, unchanged_since
from api.reads.lookup import Pending, ReadResult, find
from api.reads.read import with_headers
from api.reads.read_request import ReadRequest
from api.services import current_services
from api.v3 import fields
from api.v3.headers import successor_path
from api.v3.masks import Mask
from api.v3.settings import v3
from worker.catalog.operations import Operation

#: Retry-After (seconds) for a read that was not in time; the repetition joins the read in flight.
_RETRY_AFTER = "1"
_DIGEST_CHARS = 12
_renderer = fields.Renderer()


def read(operation: Operation, subsystem: str, arguments: Mapping[str, Any]) -> Response:
    """Answer a read.

    Raises:
        Problem: it fails, or is not ready in time.
    """
    resource_type = operation.reads
    assert resource_type is not None  # noqa: S101 - a route that reads names an operation that reads
    result = find(
        ReadRequest(
            current_services(),
            operation,
            resource_type,
            subsystem,
            arguments,
            Query(),
            _freshness(),
            v3().settings.v3_wait,
            Preferences(),
            stale_if_error=False,
            target=successor_path(),
        )
    )
    if isinstance(result, Pending) or result.status:
        # The storage system was read for it.
        g.held_open = True
    if isinstance(result, Pending):
        raise Problem(
            "job-not-finished",
            "The storage system has not answered yet; it is still being asked. Send the request again.",
            status=503,
            headers={**result.headers, "Retry-After": _RETRY_AFTER},
        )
    response = with_headers(result, _rendered(result, g.v3_mask))
    # Nor may a cache of the client's serve an older copy.
    fresh_s = min(current_services().settings.cache_fresh, v3().max_age_s)
    response.headers["Cache-Control"] = f"private, max-age={fresh_s}"
    return response


def _freshness() -> RequestCacheControl:
    """Return the accepted age: clients without a preference do not know of the cache, and expect the filer's state."""
    if "Cache-Control" in request.headers or "Pragma" in request.headers:
        return freshness(request)
    return RequestCacheControl(max_age_s=v3().max_age_s)


def _rendered(result: ReadResult, mask: Mask) -> Response:
    key = result.key
    compressed = key is None and mask is None and takes_gzip(request)
    tag = _tag(result, mask)
    is_held = client_has(tag) or unchanged_since(result.listing_state)
    response = Response(status=304) if is_held else _body(result, mask, compressed=compressed)
    response.set_etag(f"{tag}-gzip" if compressed else tag)
    response.headers["Vary"] = "Accept-Encoding, Authorization, Cookie, X-Fields"
    return response


def _tag(result: ReadResult, mask: Mask) -> str:
    if result.key is not None:
        return f"{content_tag(_object(result, mask))}-v3"
    # Every form of a state is another representation with another entity tag.
    form = hashlib.sha256(repr(mask).encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{result.listing_state.etag}-v3-{form}"


def _object(result: ReadResult, mask: Mask) -> bytes:
    assert result.key is not None  # noqa: S101 - a single object
    record = result.listing.find(result.key)
    assert record is not None  # noqa: S101 - it was found there
    return fields.one(result.read_request.resource_type, record, mask)


def _body(result: ReadResult, mask: Mask, *, compressed: bool) -> Response:
    resource_type, listing = result.read_request.resource_type, result.listing
    if result.key is not None:
        body = _object(result, mask)
    elif mask is not None:
        body = fields.masked(resource_type, listing, mask)
    else:
        rendered = _renderer.whole(resource_type, listing)
        body = rendered.gzip if compressed else rendered.body
    response = Response(body, content_type="application/json")
    if compressed:
        response.headers["Content-Encoding"] = "gzip"
    return response
