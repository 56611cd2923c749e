"""Responses with a collection or a part of it, from one state of its listing."""

from __future__ import annotations

import hashlib
from urllib.parse import urlencode

import orjson
from flask import Response, request

from api.http.preferences import takes_gzip
from api.reads.collection_query import MOST_LIMIT, Query
from api.reads.page_token import make_token
from api.reads.selection import numbers
from worker.listings.listing import Listing, Record
from worker.listings.repository import ListingState

_TAG_CHARS = 20


def respond(listing: Listing, listing_state: ListingState, query: Query, key: str | None) -> Response:
    """Return the response with the collection, a page of it, or the record ``key``; 304 if the client has it."""
    packed = key is None and query.plain and takes_gzip(request)
    record = b"" if key is None else orjson.dumps(listing.find(key))
    tag = _etag(listing_state.etag, query) if key is None else content_tag(record)
    if client_has(tag) or unchanged_since(listing_state):
        response = Response(status=304)
    elif key is not None:
        response = Response(record, content_type="application/json")
    elif query.plain:
        response = _whole(listing, packed=packed)
    else:
        response = _part(listing, listing_state, query)
    # The compressed form is another representation with another entity tag.
    response.headers["ETag"] = f'"{tag}-gzip"' if packed else f'"{tag}"'
    response.headers["Vary"] = "Accept-Encoding, Authorization, Cookie"
    return response


def select(listing: Listing, listing_state: ListingState, query: Query) -> list[Record]:
    """Return the records that a query chooses, in its order."""
    return _rows(listing, listing_state, query, 0, query.limit or listing.count)[1]


def content_tag(body: bytes) -> str:
    """Return the entity tag of a single object, which changes of other objects leave as it is."""
    return hashlib.sha256(body).hexdigest()[:_TAG_CHARS]


def _etag(state: str, query: Query) -> str:
    if query.plain:
        return state
    start = query.page.start if query.page else 0
    representation = f"{query.text} {query.limit} {start}"
    return f"{state}-{hashlib.sha256(representation.encode()).hexdigest()[:12]}"


def client_has(tag: str) -> bool:
    """Does the current request's If-None-Match have this entity tag?"""
    # A compressing proxy may weaken the tag or append its encoding; the state is the same.
    sent = request.if_none_match
    return sent.contains_weak(tag) or sent.contains_weak(f"{tag}-gzip") or sent.contains_weak(f"{tag};gzip")


def unchanged_since(listing_state: ListingState) -> bool:
    """Does If-Modified-Since show that the client has it? Not for a change in that second: another may follow in it."""
    if "If-None-Match" in request.headers or "If-Modified-Since" not in request.headers:
        return False
    version = listing_state.listing_version
    try:
        since = request.if_modified_since
    except OverflowError:
        return False
    if since is None or version is None or version.seq != version.base_seq:
        return False
    since_s = since.timestamp()
    return listing_state.as_of_ms // 1000 <= since_s and listing_state.changed_ms // 1000 < since_s


def _whole(listing: Listing, *, packed: bool) -> Response:
    response = Response(listing.gzip if packed else listing.body, content_type="application/json")
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["X-Total-Count"] = str(listing.count)
    return response


def _part(listing: Listing, listing_state: ListingState, query: Query) -> Response:
    start = query.page.start if query.page else 0
    limit = query.limit or (MOST_LIMIT if query.page else listing.count)
    total, rows = _rows(listing, listing_state, query, start, limit)
    if query.fields:
        rows = [{name: row.get(name) for name in query.fields} for row in rows]
    response = Response(orjson.dumps(rows), content_type="application/json")
    response.headers["X-Total-Count"] = str(total)
    if start + limit < total:
        response.headers["Link"] = f'<{_next(listing_state, query, start + limit)}>; rel="next"'
    return response


def _rows(
    listing: Listing, listing_state: ListingState, query: Query, start: int, limit: int
) -> tuple[int, list[Record]]:
    """Return how many records match, and those of the page."""
    if not query.filters and not query.sort:
        return listing.count, listing.rows(start, limit)
    records = listing.records
    selected = numbers(listing, (listing_state.cache_key, listing_state.etag), query.filters, query.sort, query.text)
    return len(selected), [records[number] for number in selected[start : start + limit]]


def _next(listing_state: ListingState, query: Query, start: int) -> str:
    limit = [("limit", str(query.limit))] if query.limit else []
    token = ("page_token", make_token(listing_state, query.text, start))
    return f"{request.path}?{urlencode([*query.parameters, *limit, token])}"
