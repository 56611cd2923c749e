"""Volumes that were taken out of service, and how one is brought back."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from api.console.api_client import ApiResponse, call
from api.console.forms import body_of, form_key, idempotency_key
from api.console.pages import page, problem_page, render, to_job
from worker.catalog.operations import Role


@page("/<subsystem>/restricted", access=Role.UBER_ADMIN)
def restricted_volumes(subsystem: str) -> Response:
    """The volumes that are out of service."""
    answer = call("GET", f"/v4/{subsystem}/restricted", headers={"Prefer": "wait=5"})
    if answer.status == 202:  # noqa: PLR2004
        return render("reading.html", 202, subsystem=subsystem, what="restricted volumes", job=answer.body)
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    return _page(subsystem, answer.body)


@page("/<subsystem>/restricted/<name>", access=Role.UBER_ADMIN, methods=["POST"])
def reinstate(subsystem: str, name: str) -> Response:
    """Bring a volume back."""
    body = body_of(request.form, ("junction_path",))
    # All forms of the page have its key: with the name it is that of this one.
    headers = {header: f"{key} {name}" for header, key in idempotency_key().items()}
    answer = call("POST", f"/v4/{subsystem}/restricted/{name}/reinstate", body=body, headers=headers)
    if answer.job_id:
        return to_job(answer)
    rows = call("GET", f"/v4/{subsystem}/restricted", headers={"Prefer": "wait=5"})
    return _page(subsystem, rows.body, answer) if rows.status == 200 else problem_page(answer)  # noqa: PLR2004


def _page(subsystem: str, rows: Any, refused: ApiResponse | None = None) -> Response:
    problem = refused.body if refused is not None else None
    return render(
        "restricted.html",
        refused.status if refused is not None else 200,
        subsystem=subsystem,
        rows=rows,
        problem=problem,
        key=form_key(request.form, problem),
    )
