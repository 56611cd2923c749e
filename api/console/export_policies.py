"""Export policies with their rules and rights, and what changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, request

from api.console.api_client import ApiResponse, call
from api.console.creation_form import create_named
from api.console.forms import field_errors, form_key, idempotency_key
from api.console.pages import page, problem_page, read_headers, render, to_job
from api.http.problems import Problem
from worker.catalog.operations import Role


@page("/<subsystem>/export", access=Role.ADMIN)
def policies(subsystem: str) -> Response:
    """The policies of a storage system."""
    answer = call("GET", f"/v4/{subsystem}/export", headers=read_headers())
    if answer.status == 202:  # noqa: PLR2004
        return render("reading.html", 202, subsystem=subsystem, what="export policies", job=answer.body)
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    return render(
        "export_policies.html",
        subsystem=subsystem,
        policies=answer.body,
        age_s=int(answer.headers.get("Age", 0)),
        events={"subsystem": subsystem},
    )


@page("/<subsystem>/export/<path:policy>", access=Role.ADMIN)
def policy(subsystem: str, policy: str) -> Response:
    """One policy with its rules."""
    return _policy_page(subsystem, policy, {}, None)


def _policy_page(
    subsystem: str, policy: str, values: Mapping[str, Any], refused: ApiResponse | None, confirm_error: str = ""
) -> Response:
    answer = call("GET", f"/v4/{subsystem}/export/{policy}", headers=read_headers())
    if refused is not None and answer.status != 200:  # noqa: PLR2004
        return problem_page(refused)
    if answer.status == 202:  # noqa: PLR2004
        return render("reading.html", 202, subsystem=subsystem, what=policy, job=answer.body)
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    problem = refused.body if refused is not None and isinstance(refused.body, dict) else None
    return render(
        "export_policy.html",
        422 if confirm_error else refused.status if refused is not None else 200,
        subsystem=subsystem,
        policy=answer.body,
        values=values,
        problem=problem,
        errors=field_errors(problem),
        confirm_error=confirm_error,
        key=form_key(values, problem),
        events={"subsystem": subsystem},
    )


@page("/<subsystem>/policy-actions/<action>/<path:policy>", access=Role.ADMIN, methods=["POST"])
def act_on_policy(subsystem: str, action: str, policy: str) -> Response:
    """Add a rule, remove one, or delete the policy."""
    rule = request.form.get("rule", "").strip()
    path = f"/v4/{subsystem}/export/{policy}"
    if action == "delete":
        if request.form.get("confirm", "").strip() != policy:
            return _policy_page(subsystem, policy, request.form, None, "Type the policy's name to go on.")
        answer = call("DELETE", path, headers=idempotency_key())
    elif action in ("add-rule", "remove-rule"):
        answer = call("PUT" if action == "add-rule" else "DELETE", f"{path}/rule/{rule}")
    else:
        raise Problem("not-found", "There is no such action.")
    return to_job(answer) if answer.job_id else _policy_page(subsystem, policy, request.form, answer)


@page("/<subsystem>/new-policy", access=Role.ADMIN, methods=["GET", "POST"])
def new_policy(subsystem: str) -> Response:
    """The form that creates a policy."""
    return create_named("new_policy.html", subsystem, "export", {"rules": request.form.get("rules", "").split()})
