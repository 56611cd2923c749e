"""One's own jobs, newest first, by filter and page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Response, request

from api.auth import principal
from api.http.problems import invalid
from api.jobs.representation import job_document
from api.services import current_services
from worker.jobs.service import JobFilter

_MOST_IDS = 200
_FILTERS = ("state", "operation", "subsystem", "volume")


def list_jobs(query: Mapping[str, Any]) -> Response:
    """Answer with a page of the jobs of the one who asks.

    Raises:
        Problem: `validation-failed`: a page token that is none, or too many ids.
    """
    wanted = JobFilter(
        **{name: query.get(name, "") for name in _FILTERS},
        created_after_ms=_unix_ms(query.get("created_after")),
        ids=_ids(query.get("id")),
    )
    below = _below(query["page_token"]) if "page_token" in query else None
    job_status, after = current_services().jobs.list_for(principal().name, wanted, query["limit"], below)
    response = Response(orjson.dumps([job_document(job) for job in job_status]), content_type="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    if after is not None:
        response.headers["Link"] = f'<{_next(after)}>; rel="next"'
    return response


def _unix_ms(moment: datetime | None) -> int:
    return max(0, int(moment.astimezone(UTC).timestamp() * 1000)) if moment else 0


def _ids(text: str | None) -> tuple[str, ...]:
    ids = tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))
    if text is not None and not 0 < len(ids) <= _MOST_IDS:
        raise invalid("/id", f"must be 1 to {_MOST_IDS} ids")
    issued = current_services().jobs.was_issued
    # An id that was never issued is no key to look under; but no ids at all would mean any job.
    return tuple(job_id for job_id in ids if issued(job_id)) or ids[:1]


def _next(after: int) -> str:
    token = base64.urlsafe_b64encode(str(after).encode()).decode().rstrip("=")
    kept = [(name, value) for name, value in request.args.items() if name != "page_token"]
    return f"{request.path}?{urlencode([*kept, ('page_token', token)])}"


def _below(token: str) -> int:
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode("ascii")
    except ValueError:
        raise invalid("/page_token", "is no page token") from None
    if not text.isdigit() or len(text) > 15:  # noqa: PLR2004 - sequence numbers are exact in Redis up to 2^53
        raise invalid("/page_token", "is no page token")
    return int(text)
