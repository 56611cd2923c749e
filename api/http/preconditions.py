"""Preconditions of requests (RFC 9110, section 13): evaluated for reads, refused for changes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, request

from api.http.methods import SAFE_METHODS
from api.http.problems import Problem

#: Statuses of responses with a representation of the resource, or about the one that the client has.
_SELECTED = (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)


def check_preconditions(response: Any) -> Any:
    """Return a view's response; that of a read only if it is what If-Match or If-Unmodified-Since names.

    Raises:
        Problem: `precondition-failed`.
    """
    is_read = request.method in SAFE_METHODS and isinstance(response, Response)
    if not is_read or response.status_code not in _SELECTED or _is_met(response):
        return response
    response.close()
    raise failed_precondition()


def failed_precondition() -> Problem:
    """Return the problem for a representation that the client does not want."""
    detail = "What is here is not what If-Match or If-Unmodified-Since names: send the request without them."
    return Problem("precondition-failed", detail)


def reject_preconditions() -> None:
    """Refuse conditional changes: a job is executed later, when the condition may not hold any more.

    Raises:
        Problem: `precondition-failed`.
    """
    for name in ("If-Match", "If-Unmodified-Since"):
        if name in request.headers:
            detail = f"Changes cannot be made conditional with {name}: they are done in the order of their acceptance."
            raise Problem("precondition-failed", f"{detail} Nothing was accepted.")


def _is_met(response: Response) -> bool:
    return _is_named(response) if "If-Match" in request.headers else not _is_newer(response)


def _is_named(response: Response) -> bool:
    """Does If-Match have the entity tag, by the strong comparison? Those of responses are all strong."""
    tag, _ = response.get_etag()
    return bool(request.if_match.star_tag) or (tag is not None and request.if_match.is_strong(tag))


def _is_newer(response: Response) -> bool:
    """Has it changed since If-Unmodified-Since? A date that cannot be read counts for nothing."""
    try:
        since = request.if_unmodified_since
    except OverflowError:
        return False
    return since is not None and response.last_modified is not None and response.last_modified > since
