"""Jobs: lists by filter, one job, and its actions. Also served for `Accept: text/html` below `/v4/jobs`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, request
from werkzeug.datastructures import MIMEAccept

from api import auth
from api.console.api_client import ApiResponse, call, next_token
from api.console.bulk_actions import bulk_action_of
from api.console.forms import field_errors
from api.console.job_links import CHANGES, REPEATABLE, UNFINISHED
from api.console.pages import page, problem_page, redirect_to, refused, render
from api.http.problems import Problem
from api.openapi.blueprint import SIGNED_IN
from worker.catalog.operations import OPERATIONS, Role, operation_named
from worker.jobs.record import State

Document = Mapping[str, Any]

_JOB_PATH = re.compile(r"/v4/jobs(?:/([0-9A-Fa-f-]{36}))?")
_ACTIONS = ("cancel", "retry", "settle")
_PAGE_ROWS = 50
_MOST_MEMBERS = 200
_SHOWN_AHEAD = 8
#: Filters that stand behind "More filters".
_MORE = ("batch", "id", "created_after", "created_before", "finished_after", "finished_before")
#: What workers say of a job whose change is in doubt, and which UBER_ADMIN may settle.
_IN_DOUBT = "the outcome is being settled"


def init_app(app: Flask) -> None:
    """Answer browsers that ask for `/v4/jobs` with the pages for people."""
    app.before_request(_page_for_browsers)
    app.after_request(_vary)


def _vary(response: Response) -> Response:
    """Say of each of the two forms of a resource that there is another (RFC 9110, section 12.5.5)."""
    if request.method in ("GET", "HEAD") and _JOB_PATH.fullmatch(request.path):
        response.vary.add("Accept")
    return response


def _page_for_browsers() -> Response | None:
    match = _JOB_PATH.fullmatch(request.path)
    if request.method not in ("GET", "HEAD") or match is None or not prefers_html(request.accept_mimetypes):
        return None
    try:
        return job(job_id=match[1]) if match[1] else jobs()
    except Problem as problem:
        return refused(problem)


def prefers_html(accepted: MIMEAccept) -> bool:
    """Does the client ask for HTML rather than JSON? A client that takes anything gets JSON."""
    return accepted.best_match(["application/json", "text/html"]) == "text/html"


def _is_change(document: Document) -> bool:
    operation = operation_named(str(document.get("operation")))
    return operation is None or operation.is_change


@page("/jobs", access=SIGNED_IN)
def jobs() -> Response:
    """A page of jobs."""
    query = {name: value for name, value in request.args.items() if value}
    answer = call("GET", "/v4/jobs", query={"limit": _PAGE_ROWS, **query})
    is_shown = answer.status in (200, 422)
    return _jobs_page(answer, query) if is_shown else problem_page(answer)


def _jobs_page(answer: ApiResponse, query: dict[str, str]) -> Response:
    is_good = answer.status == 200  # noqa: PLR2004
    return render(
        "jobs.html",
        answer.status,
        rows=answer.body if is_good else [],
        problem=None if is_good else answer.body,
        errors=field_errors(None if is_good else answer.body),
        next_token=next_token(answer),
        states=[state.value for state in State],
        unfinished=UNFINISHED,
        repeatable=REPEATABLE,
        changes=CHANGES,
        operations=_operations(),
        query=query,
        more=[(name, query.get(name, "")) for name in _MORE],
        may_see_all=may_see_others(),
        bulk=_bulk_action(query),
        events={} if query.get("all") == "true" else {"all": "false"},
    )


def _operations() -> dict[str, list[str]]:
    """Every operation, below the headings of the choice."""
    changes = CHANGES.split(",")
    return {"Changes": sorted(changes), "Reads": sorted(set(OPERATIONS) - set(changes))}


def _bulk_action(query: Mapping[str, str]) -> str:
    """What the page offers to do to all jobs that it lists: others' are cancelled by UBER_ADMIN only."""
    action = bulk_action_of(query.get("state", ""))
    is_others = query.get("all") == "true" or "requested_by" in query
    may = may_see_others() if action == "retry" else not is_others or Role.UBER_ADMIN in auth.principal().roles
    return action if may else ""


def may_see_others() -> bool:
    """May the one who asks see jobs of others?"""
    return bool(auth.principal().roles & {Role.ADMIN, Role.UBER_ADMIN})


@page("/jobs/<job_id>", access=SIGNED_IN)
def job(job_id: str) -> Response:
    """One job."""
    answer = call("GET", f"/v4/jobs/{job_id}")
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    document: dict[str, Any] = answer.body
    ahead = _ahead(document) if document["state"] == State.QUEUED else []
    members = _find(batch=job_id, limit=_MOST_MEMBERS) if document["operation"] == "batch" else None
    return render(
        "job.html",
        job=document,
        members=members,
        ahead=ahead[:_SHOWN_AHEAD],
        ahead_more=len(ahead[_SHOWN_AHEAD:]),
        may_retry=_may_retry(document),
        may_cancel=document["cancellable"] and not document["done"] and _may_stop(document),
        is_in_doubt=not document["done"] and (document.get("progress") or {}).get("message") == _IN_DOUBT,
        events={"batch": job_id} if members is not None else {"id": job_id},
    )


def _may_retry(document: Document) -> bool:
    operation = operation_named(str(document["operation"]))
    has_role = operation is not None and operation.role in auth.principal().roles
    return has_role and document["state"] in (State.FAILED, State.CANCELLED)


def _may_stop(document: Document) -> bool:
    """Its requester, or UBER_ADMIN; the API decides, by more than the name."""
    who = auth.principal()
    return Role.UBER_ADMIN in who.roles or document.get("requested_by") == who.name


def _ahead(document: Document) -> list[Document]:
    """The jobs that a queued one waits for, the first first: those of its volume, else those that run in its queue."""
    query = {"subsystem": document.get("subsystem"), "state": UNFINISHED}
    volume = (document.get("request") or {}).get("volume")
    of_volume = _find(**query, volume=volume, operation=CHANGES, limit=1000) if volume and _is_change(document) else []
    earlier = [job for job in of_volume if job["id"] < document["id"]]
    if not earlier:
        running = _find(**query | {"state": "running"})
        earlier = [job for job in running if job["queue"]["name"] == document["queue"]["name"]]
    return sorted(earlier, key=lambda job: str(job["id"]))


def _find(**query: Any) -> list[Document]:
    """The jobs that a filter names, as far as the one who asks may see them."""
    answer = call("GET", "/v4/jobs", query={"all": "true", **query})
    return answer.body if answer.status == 200 and isinstance(answer.body, list) else []  # noqa: PLR2004


@page("/jobs/<job_id>/<action>", access=SIGNED_IN, methods=["POST"])
def act_on_job(job_id: str, action: str) -> Response:
    """Cancel, retry or settle a job."""
    if action not in _ACTIONS:
        raise Problem("not-found", "A job can be cancelled, retried or settled.")
    body = {"outcome": request.form.get("outcome", "")} if action == "settle" else None
    # A button that is pressed twice makes one new job.
    headers = {"Idempotency-Key": f"console-retry-{job_id}"} if action == "retry" else {}
    answer = call("POST", f"/v4/jobs/{job_id}/{action}", body=body, headers=headers)
    if answer.status >= 400:  # noqa: PLR2004
        return problem_page(answer)
    following = answer.job_id if action == "retry" and answer.job_id else job_id
    return redirect_to(f"/console/jobs/{following}")
