"""Errors as clients see them: problem documents (RFC 9457), without stack traces, names of filers or credentials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

import orjson
from flask import Response, g, has_request_context, request

from api.http.request_ids import request_id
from worker.catalog.problem_types import MOST_ERRORS, PROBLEM_TYPES, STATUS
from worker.jobs.failure import Failure

__all__ = [
    "MEDIA_TYPE",
    "MOST_ERRORS",
    "STATUS",
    "Problem",
    "count_limit",
    "invalid",
    "problem_document",
    "problem_of",
    "problem_response",
]

MEDIA_TYPE = "application/problem+json"
_LONGEST_INSTANCE = 1024


class Problem(Exception):
    """An error response, raised anywhere below a view.

    ``errors`` are ``{"pointer", "detail"}``; ``limit`` is the setting whose limit was reached, if one was; ``extra``
    are further members of the document.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        retryable: bool | None = None,
        errors: Iterable[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        limit: str = "",
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = STATUS[code] if status is None else status
        self.retryable = PROBLEM_TYPES[code].retryable if retryable is None else retryable
        self.errors = [dict(error) for error in islice(errors, MOST_ERRORS)]
        self.headers = dict(headers or {})
        self.extra = dict(extra or {}) | ({"limit": limit} if limit else {})
        self.limit = limit


def invalid(pointer: str, detail: str) -> Problem:
    """Return a `validation-failed` about one member or query parameter of the request, by JSON pointer."""
    name = pointer.removeprefix("/") or "the body"
    return Problem("validation-failed", f"{name}: {detail}", errors=[{"pointer": pointer, "detail": detail}])


def problem_of(failure: Failure, *, headers: Mapping[str, str] | None = None) -> Problem:
    """Return the problem for a failed job."""
    code = failure.code if failure.code in STATUS else "backend-error"
    return Problem(
        code,
        failure.detail,
        retryable=failure.retryable,
        errors=failure.errors,
        # No Retry-After: a job that has ended does not change.
        headers=headers,
        extra={"backend_error": dict(failure.backend_error)} if failure.backend_error else None,
    )


def problem_document(problem: Problem, *, instance: str | None = None, request_id: str = "") -> dict[str, Any]:
    """Return the members of the document."""
    document: dict[str, Any] = {
        "type": f"/problems/{problem.code}",
        "title": PROBLEM_TYPES[problem.code].title,
        "status": problem.status,
        "detail": problem.detail,
    }
    if instance is not None:
        document["instance"] = instance
    document |= {"code": problem.code, "retryable": problem.retryable}
    if request_id:
        document["request_id"] = request_id
    if problem.errors:
        document["errors"] = problem.errors
    return problem.extra | document


def count_limit(problem: Problem) -> None:
    """Have the limit that was reached, if one was, counted with the current request."""
    if problem.limit and has_request_context():
        g.limit_reached = problem.limit


def problem_response(problem: Problem) -> Response:
    """Return the response to the current request."""
    count_limit(problem)
    instance = instance_of(request.root_path + request.path) if has_request_context() else None
    document = problem_document(problem, instance=instance, request_id=request_id())
    response = Response(orjson.dumps(document), problem.status, content_type=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers.update(problem.headers)
    return response


def instance_of(path: str) -> str:
    """Return the path of a request as a URI reference, quoted, and truncated when it is very long."""
    return quote(path[:_LONGEST_INSTANCE], safe="/:@!$&'()*+,;=~")
