"""What all pages share: the blueprint, rendering with the page's frame and policy, assets, and errors as pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, current_app, redirect, render_template, request, send_from_directory

from api import auth
from api.console import formatting, wording
from api.console.api_client import ApiResponse
from api.console.job_links import jobs_url
from api.http.bodies import received_body
from api.http.problems import Problem, count_limit
from api.openapi.blueprint import ANYONE, SIGNED_IN, require_subsystem
from api.services import current_services
from worker.catalog.operations import Role
from worker.catalog.problem_types import PROBLEM_TYPES

blp = Blueprint("console", __name__, url_prefix="/console", template_folder="templates")

View = Callable[..., Response]

_STATIC = Path(str(files("api.console") / "static"))
_ASSETS = frozenset({"console.css", "console.js"})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

for _filter in (
    formatting.size, formatting.duration, formatting.ago, formatting.between, formatting.clock, formatting.quantity,
    formatting.json_text, formatting.newest_first,
    wording.field_label, wording.operation_label, wording.next_step, wording.waiting_words, wording.subject,
):  # fmt: skip
    blp.add_app_template_filter(_filter)
blp.add_app_template_filter(lambda text: quote(str(text), safe=""), "segment")
blp.add_app_template_filter(lambda text: quote(str(text), safe="/:"), "volume_path")
blp.add_app_template_global(formatting.percent, "percent")
blp.add_app_template_global(jobs_url, "jobs_url")


def render(template: str, status: int = 200, *, events: Mapping[str, str] | None = None, **values: Any) -> Response:
    """Return a page with everything that its frame needs.

    Args:
        template: its file below `templates/console`.
        status: the HTTP status.
        events: the filter of the jobs whose events bring the page up to date (None: it is as it is).
        values: what the template shows.
    """
    who = _who()
    page = render_template(
        f"console/{template}",
        who=who,
        roles=who.roles,
        Role=Role,
        sees_others=bool(who.roles & {Role.ADMIN, Role.UBER_ADMIN}),
        subsystems=current_services().subsystems if Role.USER in who.roles else (),
        query_with=_query_with,
        here=_here(),
        flower_url=current_services().config.flower_url.rstrip("/"),
        events_url=_events_url(who, events),
        assets_version=_assets_version(),
        **values,
    )
    response = Response(page, status)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept, Cookie"
    return response


def _here() -> str:
    """The page's own address; the overview where a form is sent to an address that is no page."""
    is_page = request.method != "POST" or current_app.url_map.bind("localhost").test(request.path, "GET")
    return request.full_path.rstrip("?") if is_page else "/console/"


def _who() -> auth.Principal:
    """Who the page is for; nobody while that is not known, so that the refusal itself can be rendered."""
    try:
        return auth.principal()
    except Problem:
        return auth.Principal()


def _events_url(who: auth.Principal, events: Mapping[str, str] | None) -> str:
    """Where the page hears of changes; empty for those who may not, and for pages that do not change."""
    if events is None or not who.signed_in:
        return ""
    return "/v4/events?" + urlencode({"all": "true", **events})


@cache
def _assets_version() -> str:
    """A name for what the assets contain: a new release is not shown with the style of the last."""
    content = b"".join((_STATIC / name).read_bytes() for name in sorted(_ASSETS))
    return hashlib.sha256(content).hexdigest()[:12]


def _query_with(**changes: Any) -> str:
    """The page's own query with some parameters changed (None: without it)."""
    arguments = [(name, value) for name, value in request.args.items(multi=True) if name not in changes]
    text = urlencode([(name, value) for name, value in [*arguments, *changes.items()] if value not in (None, "")])
    return f"?{text}" if text else "?"


def is_live_update() -> bool:
    """Does the page's script ask, to show what has changed? Then no storage system is asked for anything."""
    return request.headers.get("X-Console-Update") == "1"


def read_headers(wait_s: int = 5) -> dict[str, str]:
    """Return the headers of a read for a page: how long it waits, or that the cached copy is all that is wanted."""
    return {"Cache-Control": "only-if-cached, max-stale"} if is_live_update() else {"Prefer": f"wait={wait_s}"}


def problem_page(answer: ApiResponse) -> Response:
    """Return the page for a refusal of the API."""
    problem = answer.body if isinstance(answer.body, dict) else {}
    kind = PROBLEM_TYPES.get(problem.get("code", ""))
    subsystem = (request.view_args or {}).get("subsystem", "")
    return render("problem.html", answer.status, problem=problem, kind=kind, subsystem=subsystem)


def to_job(answer: ApiResponse) -> Response:
    """Lead on to the job that a form has made."""
    return redirect_to(f"/console/jobs/{answer.job_id}")


def redirect_to(path: str) -> Response:
    """Lead on to another page after a form was sent."""
    response = redirect(path, 303)
    assert isinstance(response, Response)  # noqa: S101 - Flask's own response class
    return response


def page(rule: str, *, access: str, methods: Iterable[str] = ("GET",)) -> Callable[[View], View]:
    """Declare a page: its path below `/console`, and who may ask (a role, `SIGNED_IN` or `ANYONE`)."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(**path: str) -> Response:
            if access in frozenset(Role):
                auth.require(Role(access), operation="console")
            elif access == SIGNED_IN:
                auth.require_signed_in()
            if request.method == "POST":
                # Here, after the role was asked for, and within the limits of bodies; the form is read from it.
                received_body()
            if "subsystem" in path:
                require_subsystem(path["subsystem"])
            return view(**path)

        checked.access = access  # type: ignore[attr-defined]
        blp.add_url_rule(rule, view.__name__, checked, methods=list(methods))
        return checked

    return decorate


@blp.errorhandler(Problem)
def refused(problem: Problem) -> Response:
    """Show a refusal as a page, with a way to sign in."""
    count_limit(problem)
    document = {"code": problem.code, "status": problem.status, "detail": problem.detail}
    response = render("problem.html", problem.status, problem=document, kind=PROBLEM_TYPES.get(problem.code))
    response.headers.update(problem.headers)
    return response


@page("/assets/<name>", access=ANYONE)
def asset(name: str) -> Response:
    """A file that pages need."""
    if name not in _ASSETS:
        raise Problem("not-found", "The console has no such file.")
    return send_from_directory(_STATIC, name, max_age=300)
