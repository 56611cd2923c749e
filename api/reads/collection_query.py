"""Collections as clients ask for them: filter, sort, fields and pages, over one state of a listing."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import urlencode

import orjson
from flask import Response, request
from werkzeug.datastructures import MultiDict

from api.http.preferences import takes_gzip
from api.http.problems import Problem, invalid
from api.reads.filter_expressions import BadExpression, Predicate, compile_expression, count_terms
from api.reads.selection import numbers
from api.services import current_services
from storage_backends.client_matches import canonical_host
from storage_backends.models import ExportPolicy, Snapshot, Volume
from storage_backends.models import Lock as LockModel
from worker.catalog import resource_types as views
from worker.catalog.resource_types import ResourceType
from worker.listings.listing import Listing, Record
from worker.listings.repository import ListingState

MOST_LIMIT = 1000
_DIGEST_CHARS = 12
_MODELS: dict[str, type] = {
    views.VOLUMES.name: Volume,
    views.RESTRICTED.name: Volume,
    views.SNAPSHOTS.name: Snapshot,
    views.LOCKS.name: LockModel,
    views.POLICIES.name: ExportPolicy,
}


@dataclass(frozen=True, slots=True)
class Page:
    """Where a page begins, and in which state of which listing."""

    cache_key: str
    base: str
    base_seq: int
    seq: int
    as_of_ms: int
    start: int
    query: str


@dataclass(frozen=True)
class Query:
    """What is wanted of a collection."""

    filters: tuple[tuple[str, Predicate], ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    fields: tuple[str, ...] = ()
    limit: int | None = None
    page: Page | None = None
    #: The parameters that choose and order, in one form: the name of this query.
    text: str = ""
    parameters: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def plain(self) -> bool:
        """Is the whole listing wanted, as it is?"""
        return not self.text and self.limit is None and self.page is None


@cache
def field_types(resource_type: ResourceType) -> dict[str, type]:
    """The fields of a collection's records: each str, int, bool, tuple, or datetime where the text is a time."""
    hints = get_type_hints(_MODELS[resource_type.name])
    return {name: datetime if name.endswith("_time") else _plain_type(hint) for name, hint in hints.items()}


def _plain_type(hint: Any) -> type:
    if get_origin(hint) is tuple:
        return tuple
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    return kinds[0]  # type: ignore[no-any-return]


def parse(resource_type: ResourceType, arguments: MultiDict[str, str]) -> Query:
    """Read the query of a request.

    Raises:
        Problem: ``validation-failed``, naming the parameter.
    """
    types = field_types(resource_type)
    _check_terms(types, arguments)
    filters = []
    for name, text in arguments.items(multi=True):
        if name in types:
            filters.append((name, _filter(name, text, types[name])))
        elif name not in ("sort", "fields", "limit", "page_token"):
            raise invalid(f"/{name}", "is no parameter of this collection.")
    sort = _sort(_listed(arguments, "sort"), types)
    fields = tuple(dict.fromkeys(_field(part, types, "fields") for part in _listed(arguments, "fields")))
    chosen = sorted((name, text) for name, text in arguments.items(multi=True) if name not in ("limit", "page_token"))
    text = urlencode(chosen)
    page = _page(arguments["page_token"], text) if "page_token" in arguments else None
    return Query(tuple(filters), sort, fields, _limit(arguments), page, text, tuple(chosen))


def nothing(arguments: Mapping[str, str]) -> Query:
    """The query of a single object, which takes none.

    Raises:
        Problem: there is one.
    """
    for name in arguments:
        raise invalid(f"/{name}", "is no parameter of this resource.")
    return Query()


def respond(listing: Listing, listing_state: ListingState, query: Query, key: str | None) -> Response:
    """The answer with the collection, a page of it, or the record ``key``; 304 when the client has it already."""
    packed = key is None and query.plain and takes_gzip(request)
    tag = _etag(listing_state.etag, query, key)
    if client_has(tag) or _unchanged_since(listing_state):
        response = Response(status=304)
    elif key is not None:
        response = Response(orjson.dumps(listing.find(key)), content_type="application/json")
    elif query.plain:
        response = _whole(listing, packed=packed)
    else:
        response = _part(listing, listing_state, query)
    # Compressed it is another representation, so its tag is another.
    response.headers["ETag"] = f'"{tag}-gzip"' if packed else f'"{tag}"'
    response.headers["Vary"] = "Accept-Encoding, Authorization, Cookie"
    return response


def select(listing: Listing, listing_state: ListingState, query: Query) -> list[Record]:
    """Return the records that a query chooses, in its order."""
    return _rows(listing, listing_state, query, 0, query.limit or listing.count)[1]


def mounted_at(listing: Listing, junction_path: str) -> str:
    """The name of the volume that is mounted there; empty when none is."""
    found = listing.find_casefolded("junction_path", junction_path)
    return str(found["name"]) if found else ""


def bad_token() -> Problem:
    """A page token that this service did not give out for this collection and query."""
    return invalid("/page_token", "belongs to another collection or query, or is damaged. Take it from a Link header.")


def _etag(state: str, query: Query, key: str | None) -> str:
    if query.plain and key is None:
        return state
    start = query.page.start if query.page else 0
    read_request = f"{query.text} {query.limit} {start} {key}"
    return f"{state}-{hashlib.sha256(read_request.encode()).hexdigest()[:12]}"


def client_has(tag: str) -> bool:
    """Does the client of the request at hand have the representation of this tag?"""
    # A proxy that compresses may weaken the tag or hang its encoding on; the state is the same.
    sent = request.if_none_match
    return sent.contains_weak(tag) or sent.contains_weak(f"{tag}-gzip") or sent.contains_weak(f"{tag};gzip")


def _unchanged_since(listing_state: ListingState) -> bool:
    """Does If-Modified-Since say that the client has it? Changes are laid over a listing without making it younger."""
    if "If-None-Match" in request.headers or "If-Modified-Since" not in request.headers:
        return False
    version = listing_state.listing_version
    try:
        since = request.if_modified_since
    except OverflowError:
        return False
    if since is None or version is None or version.seq != version.base_seq:
        return False
    return listing_state.as_of_ms // 1000 <= since.timestamp()


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
    """How many records fit, and those of the page."""
    if not query.filters and not query.sort:
        return listing.count, listing.rows(start, limit)
    records = listing.records
    found = numbers(listing, (listing_state.cache_key, listing_state.etag), query.filters, query.sort, query.text)
    return len(found), [records[number] for number in found[start : start + limit]]


def _next(listing_state: ListingState, query: Query, start: int) -> str:
    listing_version = listing_state.listing_version
    assert listing_version is not None  # noqa: S101 - there is a listing, so there is its state
    place = [
        listing_version.cache_key, listing_version.base, listing_version.base_seq, listing_version.seq,
        listing_state.as_of_ms, start, _digest(query.text),
    ]  # fmt: skip
    text = orjson.dumps(place).decode()
    token = base64.urlsafe_b64encode(f"{_digest(text)}{text}".encode()).decode().rstrip("=")
    limit = [("limit", str(query.limit))] if query.limit else []
    return f"{request.path}?{urlencode([*query.parameters, *limit, ('page_token', token)])}"


def _page(token: str, text: str) -> Page:
    try:
        known = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
        page = Page(*orjson.loads(known[_DIGEST_CHARS:]))
    except (ValueError, TypeError, binascii.Error):
        raise bad_token() from None
    numbers = (page.base_seq, page.seq, page.as_of_ms, page.start)
    sound = (
        known.startswith(_digest(known[_DIGEST_CHARS:]))
        and all(type(number) is int and 0 <= number < 2**53 for number in numbers)
        and all(isinstance(part, str) for part in (page.cache_key, page.base, page.query))
    )
    if not sound or page.query != _digest(text) or page.base_seq > page.seq:
        raise bad_token()
    return page


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]


def _check_terms(types: Mapping[str, type], arguments: MultiDict[str, str]) -> None:
    """Refuse filters that cost too much together."""
    most = current_services().config.max_filter_terms
    if sum(count_terms(text) for name, text in arguments.items(multi=True) if name in types) > most:
        detail = f"The filters are too many: at most {most}, counting each alternative and each asterisk."
        raise Problem("validation-failed", detail, limit="SAPI_MAX_FILTER_TERMS")


def _sort(keys: Sequence[str], types: Mapping[str, type]) -> tuple[tuple[str, bool], ...]:
    most = current_services().config.max_sort_keys
    if len(keys) > most:
        raise Problem("validation-failed", f"sort: takes at most {most} fields.", limit="SAPI_MAX_SORT_KEYS")
    return tuple(_sort_key(part, types) for part in keys)


def _filter(name: str, text: str, kind: type) -> Predicate:
    if name == "host":  # Listings hold hosts in canonical form.
        text = "|".join(map(canonical_host, text.split("|")))
    try:
        return compile_expression(text, kind)
    except BadExpression as exc:
        raise invalid(f"/{name}", f"{exc}.") from None


def _listed(arguments: MultiDict[str, str], name: str) -> list[str]:
    if name not in arguments:
        return []
    if len(arguments.getlist(name)) > 1:
        raise invalid(f"/{name}", "is given more than once.")
    return [part.strip() for part in arguments[name].split(",")]


def _field(text: str, types: Mapping[str, type], parameter: str) -> str:
    if text not in types:
        raise invalid(f"/{parameter}", f"takes names of fields ({', '.join(types)}), separated by commas.")
    return text


def _sort_key(text: str, types: Mapping[str, type]) -> tuple[str, bool]:
    descending = text.startswith("-")
    name = _field(text.removeprefix("-"), types, "sort")
    if types[name] is tuple:
        raise invalid("/sort", f"cannot go by {name}: it is a list.")
    return name, descending


def _limit(arguments: MultiDict[str, str]) -> int | None:
    if "limit" not in arguments:
        return None
    text = arguments["limit"]
    if len(arguments.getlist("limit")) > 1 or not (
        text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_LIMIT
    ):
        raise invalid("/limit", f"is a whole number from 1 to {MOST_LIMIT}.")
    return int(text)
