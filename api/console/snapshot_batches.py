"""A snapshot of every volume that a filter chooses: one batch."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from flask import Response, request

from api.console.api_client import ApiResponse, call
from api.console.forms import field_errors, form_key, idempotency_key
from api.console.pages import page, render, to_job
from api.reads.for_each import UNFIT
from worker.catalog.operations import Role


@page("/<subsystem>/snapshot-batch", access=Role.ADMIN, methods=["GET", "POST"])
def snapshot_batch(subsystem: str) -> Response:
    """The form, and the batch that it makes."""
    if request.method != "POST":
        return _form(subsystem, request.args, None)
    fields = request.form
    where, name = fields.get("where", "").strip(), fields.get("name", "").strip()
    body = {
        "name": name,
        "for_each": {"subsystem": subsystem, "where": where},
        "request": {"method": "POST", "path": f"/v4/{subsystem}/volumes/{{name}}/snapshots/{name}", "body": {}},
    }
    answer = call("POST", "/v4/batches", body=body, headers=idempotency_key())
    return to_job(answer) if answer.job_id else _form(subsystem, fields, answer)


def _form(subsystem: str, values: Any, answer: ApiResponse | None) -> Response:
    return render(
        "snapshot_batch.html",
        200 if answer is None else answer.status,
        subsystem=subsystem,
        values={"where": values.get("where", ""), "name": values.get("name", "")},
        problem=answer.body if answer else None,
        errors=field_errors(answer.body if answer else None),
        count=_count(subsystem, values.get("where", "")),
        key=form_key(values, answer.body if answer else None),
    )


def _count(subsystem: str, where: str) -> int | None:
    """How many volumes a filter chooses by the cached listing; None when that is not known, or it will be refused."""
    query = parse_qs(where, keep_blank_values=True)
    if not query or query.keys() & set(UNFIT) or any("" in values for values in query.values()):
        return None
    answer = call(
        "GET",
        f"/v4/{subsystem}/volumes",
        query={"limit": 1, **query},
        headers={"Cache-Control": "only-if-cached, max-stale"},
    )
    if answer.status != 200:  # noqa: PLR2004
        return None
    return len(answer.body) if "limit" in query else int(answer.headers.get("X-Total-Count", 0))
