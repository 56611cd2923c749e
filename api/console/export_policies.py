"""Export policies with their rules and rights."""

from __future__ import annotations

from flask import Response

from api.console.api_client import call
from api.console.pages import page, problem_page, render
from worker.catalog.operations import Role


@page("/<subsystem>/export", access=Role.ADMIN)
def policies(subsystem: str) -> Response:
    """The policies of a storage system."""
    answer = call("GET", f"/v4/{subsystem}/export", headers={"Prefer": "wait=5"})
    if answer.status == 202:  # noqa: PLR2004
        return render("reading.html", 202, subsystem=subsystem, what="export policies", job=answer.body)
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    return render("export_policies.html", subsystem=subsystem, policies=answer.body)


@page("/<subsystem>/export/<path:policy>", access=Role.ADMIN)
def policy(subsystem: str, policy: str) -> Response:
    """One policy with its rules."""
    answer = call("GET", f"/v4/{subsystem}/export/{policy}", headers={"Prefer": "wait=5"})
    if answer.status == 202:  # noqa: PLR2004
        return render("reading.html", 202, subsystem=subsystem, what=policy, job=answer.body)
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    return render("export_policy.html", subsystem=subsystem, policy=answer.body)
