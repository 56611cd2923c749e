"""The list of jobs: newest first, by filter and page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Response, request

from api.auth import Principal, principal
from api.http.problems import invalid
from api.services import current_services
from worker.catalog.operations import Role
from worker.jobs.document import job_document
from worker.jobs.ids import is_uuid7
from worker.jobs.query import JobFilter, JobScope
from worker.jobs.record import State


def list_jobs(query: Mapping[str, Any]) -> Response:
    """Return the response with a page of the jobs that match the filter.

    Raises:
        Problem: `validation-failed`: the page token is malformed.
    """
    below = _below(query["page_token"]) if "page_token" in query else None
    jobs, after = current_services().jobs.find(job_filter(query), job_scope(query), query["limit"], below)
    response = Response(orjson.dumps([job_document(job) for job in jobs]), content_type="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    if after is not None:
        response.headers["Link"] = f'<{_next(after)}>; rel="next"'
    return response


def job_filter(query: Mapping[str, Any]) -> JobFilter:
    """Return the filter of a query that its schema has validated."""
    return JobFilter(
        states=tuple(State(state) for state in query.get("state", ())),
        operations=query.get("operation", ()),
        subsystem=query.get("subsystem", ""),
        volume=query.get("volume", ""),
        batch=query.get("batch", "").lower(),
        requested_by=query.get("requested_by", ""),
        **{f"{name}_ms": _unix_ms(name, query.get(name)) for name in _MOMENTS},
        ids=_possible(query["id"]) if "id" in query else (),
    )


def job_scope(query: Mapping[str, Any]) -> JobScope:
    """Return the scope of the current user's query (see `scope_of`)."""
    return scope_of(principal(), query)


def scope_of(who: Principal, query: Mapping[str, Any]) -> JobScope:
    """Return the scope of a query: the user's own jobs, or, if others are requested, all that the user may see."""
    if not query.get("all") and "requested_by" not in query:
        return JobScope(who.owner)
    return JobScope(who.owner, frozenset(who.roles), everybody=Role.UBER_ADMIN in who.roles)


_MOMENTS = ("created_after", "created_before", "finished_after", "finished_before")


def _unix_ms(name: str, moment_us: int | None) -> int:
    """Return a time of the filter in milliseconds, at least 1 (0 means any; there are no jobs from before 1970)."""
    if moment_us is None:
        return 0
    if name.endswith("_before"):
        return max(1, -(-moment_us // 1000))
    return max(0, moment_us // 1000)


def _possible(ids: tuple[str, ...]) -> tuple[str, ...]:
    # What is no id of a job is not looked up; an empty tuple would mean any job.
    return tuple(job_id for job_id in ids if is_uuid7(job_id)) or ids[:1]


def _next(after: int) -> str:
    token = base64.urlsafe_b64encode(str(after).encode()).decode().rstrip("=")
    arguments = [(name, value) for name, value in request.args.items() if name != "page_token"]
    return f"{request.path}?{urlencode([*arguments, ('page_token', token)])}"


def _below(token: str) -> int:
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_").decode("ascii")
    except ValueError:
        raise invalid("/page_token", "is no page token") from None
    if not text.isdigit() or len(text) > 15:  # noqa: PLR2004 - sequence numbers are exact in Redis up to 2^53
        raise invalid("/page_token", "is no page token")
    return int(text)
