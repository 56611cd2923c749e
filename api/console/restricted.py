"""Volumes that were taken out of service, and how one is brought back."""

from __future__ import annotations

from flask import Response, request

from api.console.api_client import call
from api.console.forms import body_of
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
    return render("restricted.html", subsystem=subsystem, rows=answer.body, problem=None)


@page("/<subsystem>/restricted/<name>", access=Role.UBER_ADMIN, methods=["POST"])
def reinstate(subsystem: str, name: str) -> Response:
    """Bring a volume back."""
    body = body_of(request.form, ("junction_path",))
    answer = call("POST", f"/v4/{subsystem}/restricted/{name}/reinstate", body=body)
    if answer.job_id:
        return to_job(answer)
    problem = answer.body if isinstance(answer.body, dict) else {}
    rows = call("GET", f"/v4/{subsystem}/restricted", headers={"Prefer": "wait=5"}).body
    return render(
        "restricted.html",
        answer.status,
        subsystem=subsystem,
        rows=rows if isinstance(rows, list) else [],
        problem=problem,
    )
