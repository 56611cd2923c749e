"""Reads of one object, or of a collection page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

from storage_api_client.errors import JobFailed, error_of
from storage_api_client.models import JobRecord
from storage_api_client.protocol.deadlines import Deadline
from storage_api_client.protocol.messages import Emit, Flow, Request, Response
from storage_api_client.protocol.polling import POLL_S, job_path, poll_until_done, raise_unless_succeeded
from storage_api_client.protocol.retries import Context, checked, send_with_retries

T = TypeVar("T")
_ACCEPTED = 202
_PAGE = 1000


@dataclass(frozen=True)
class Read(Generic[T]):
    """An object or a collection to read.

    Attributes:
        result: converts the body of the response, or each object of a collection, to the return value.
    """

    path: str
    result: Callable[[Any], T]
    query: tuple[tuple[str, str], ...] = ()


def read(context: Context, what: Read[T], *, fresh: bool = False, timeout: float | None = None) -> Flow[T]:
    """Read one object.

    Raises:
        StorageApiError: it does not exist, or cannot be read.
    """
    request = Request("GET", what.path, what.query, _headers(fresh=fresh))
    response = yield from _answer(context, request, Deadline(timeout))
    return what.result(checked(response, request))


def pages(
    context: Context, what: Read[T], *, limit: int | None = None, fresh: bool = False, timeout: float | None = None
) -> Flow[None]:
    """Emit the objects of a collection, at most ``limit``; ``timeout`` is for each page."""
    remaining = limit
    size = _PAGE if remaining is None else min(_PAGE, remaining)
    request: Request | None = Request("GET", what.path, (*what.query, ("limit", str(size))), _headers(fresh=fresh))
    while request and (remaining is None or remaining > 0):
        response = yield from _answer(context, request, Deadline(timeout))
        for record in (checked(response, request) or [])[:remaining]:
            yield Emit(what.result(record))
            remaining = None if remaining is None else remaining - 1
        request = _next(response, request)


def _headers(*, fresh: bool) -> dict[str, str]:
    return {"Cache-Control": "no-cache"} if fresh else {}


def _answer(context: Context, request: Request, deadline: Deadline) -> Flow[Response]:
    """The response, after the job that reads the storage system, if there is one."""
    wait_s = min(POLL_S, deadline.left_s)
    waiting_request = replace(request, headers={**request.headers, "Prefer": f"wait={int(wait_s)}"})
    response = yield from send_with_retries(context, waiting_request, deadline, wait_s=wait_s)
    if response.status != _ACCEPTED:
        return response
    job = yield from poll_until_done(context, JobRecord.of(checked(response, request)).id, deadline)
    try:
        raise_unless_succeeded(job)
    except JobFailed as failed:
        # Callers of a read do not know of its job.
        raise error_of(failed.problem, job) from None
    path = (job.links and job.links.result) or f"{job_path(job.id)}/result"
    return (yield from send_with_retries(context, Request("GET", *_split(path, request.query)), deadline))


def _split(path: str, query: tuple[tuple[str, str], ...]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A link's path and query; a link without a query gets that of the collection."""
    parts = urlsplit(path)
    return parts.path, tuple(parse_qsl(parts.query, keep_blank_values=True)) or query


def _next(response: Response, request: Request) -> Request | None:
    for link in response.headers.get("link", "").split(","):
        target, _, parameters = link.partition(";")
        if 'rel="next"' in parameters:
            path, query = _split(target.strip(" <>"), ())
            # Pages refer to one version of the listing: a fresh read would make another one.
            return Request("GET", path, query, {k: v for k, v in request.headers.items() if k != "Cache-Control"})
    return None


def parser_of(model: Callable[[Mapping[str, Any]], T]) -> Callable[[Any], T]:
    """Return a function that parses one JSON object."""
    return lambda body: model(body or {})
