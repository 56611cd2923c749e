"""The forms that create what has a name: a volume, an export policy."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from api.console.api_client import ApiResponse, call
from api.console.forms import field_errors, form_key, idempotency_key, wrong_name
from api.console.pages import render, to_job


def create_named(template: str, subsystem: str, collection: str, body: dict[str, Any]) -> Response:
    """Show the form, or create what it names by one call of the API, and lead to its job.

    Args:
        template: the form's page.
        subsystem: where it is created.
        collection: the path below the subsystem: ``volumes`` or ``export``.
        body: what the API is sent, from the form's fields.
    """
    if request.method != "POST":
        return _page(template, subsystem)
    if wrong := wrong_name(request.form, "name"):
        return _page(template, subsystem, status=422, errors={"name": wrong})
    name = request.form["name"].strip()
    answer = call("POST", f"/v4/{subsystem}/{collection}/{name}", body=body, headers=idempotency_key())
    return to_job(answer) if answer.job_id else _refused(template, subsystem, answer)


def _refused(template: str, subsystem: str, answer: ApiResponse) -> Response:
    return _page(template, subsystem, status=answer.status, problem=answer.body, errors=field_errors(answer.body))


def _page(template: str, subsystem: str, *, status: int = 200, problem: Any = None, errors: Any = None) -> Response:
    values = request.form if request.method == "POST" else request.args
    return render(
        template,
        status,
        subsystem=subsystem,
        values=values,
        problem=problem,
        errors=errors or {},
        key=form_key(values, problem),
    )
