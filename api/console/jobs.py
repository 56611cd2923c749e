"""Jobs: lists by filter, one job, and its actions. Also served for `Accept: text/html` below `/v4/jobs`."""

from __future__ import annotations

import re

from flask import Flask, Response, request
from werkzeug.datastructures import MIMEAccept

from api import auth
from api.console.api_client import call
from api.console.pages import page, problem_page, redirect_to, render
from api.console.volumes import next_token
from api.http.problems import Problem
from api.openapi.blueprint import SIGNED_IN
from worker.catalog.operations import OPERATIONS, Role
from worker.jobs.record import State

_JOB_PATH = re.compile(r"/v4/jobs(?:/([0-9A-Fa-f-]{36}))?")
_ACTIONS = ("cancel", "retry", "settle")
_PAGE_ROWS = 50


def init_app(app: Flask) -> None:
    """Answer browsers that ask for `/v4/jobs` with the pages for people."""
    app.before_request(_page_for_browsers)


def _page_for_browsers() -> Response | None:
    match = _JOB_PATH.fullmatch(request.path)
    if request.method != "GET" or match is None or not prefers_html(request.accept_mimetypes):
        return None
    try:
        return job(job_id=match[1]) if match[1] else jobs()
    except Problem as problem:
        return render("problem.html", problem.status, problem=vars(problem) | {"code": problem.code}, kind=None)


def prefers_html(accepted: MIMEAccept) -> bool:
    """Does the client ask for HTML rather than JSON? A client that takes anything gets JSON."""
    return accepted.best_match(["application/json", "text/html"]) == "text/html"


@page("/jobs", access=SIGNED_IN)
def jobs() -> Response:
    """A page of jobs."""
    who = auth.principal()
    query = {name: value for name, value in request.args.items() if value}
    answer = call("GET", "/v4/jobs", query={"limit": _PAGE_ROWS, **query})
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    return render(
        "jobs.html",
        rows=answer.body,
        next_token=next_token(answer),
        states=[state.value for state in State],
        operations=sorted(OPERATIONS),
        query=query,
        may_see_all=bool(who.roles & {Role.ADMIN, Role.UBER_ADMIN}),
    )


@page("/jobs/<job_id>", access=SIGNED_IN)
def job(job_id: str) -> Response:
    """One job."""
    answer = call("GET", f"/v4/jobs/{job_id}")
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    members = call("GET", "/v4/jobs", query={"batch": job_id, "limit": 1000}).body if _is_batch(answer.body) else None
    return render("job.html", job=answer.body, members=members, done=request.args.get("done", ""))


def _is_batch(document: dict[str, object]) -> bool:
    return document.get("operation") == "batch"


@page("/jobs/<job_id>/<action>", access=SIGNED_IN, methods=["POST"])
def act_on_job(job_id: str, action: str) -> Response:
    """Cancel, retry or resolve a job."""
    if action not in _ACTIONS:
        raise Problem("not-found", "A job can be cancelled, retried or settled.")
    body = {"outcome": request.form.get("outcome", "")} if action == "settle" else None
    answer = call("POST", f"/v4/jobs/{job_id}/{action}", body=body)
    if answer.status >= 400:  # noqa: PLR2004
        return problem_page(answer)
    following = answer.job_id if action == "retry" and answer.job_id else job_id
    return redirect_to(f"/console/jobs/{following}")
