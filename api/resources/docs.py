"""The documentation: a page to read and try it, the document itself, and a page for each kind of problem."""

from __future__ import annotations

from importlib.resources import files

import orjson
from flask import Blueprint, Response, current_app, render_template, request, send_from_directory

from api.auth import principal
from api.http.problems import Problem
from api.openapi.document import document_response
from api.services import current_services
from worker.catalog.problem_types import PROBLEM_TYPES

blp = Blueprint("docs", __name__, template_folder="../docs_page")

_OWN = frozenset({"page.css", "page.js"})
_LIBRARIES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "favicon-16x16.png"})
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@blp.get("/")
def page() -> Response:
    """The page to read and try the API."""
    response = Response(
        render_template("page.html", debug=current_services().settings.debug, signed_in=_is_signed_in())
    )
    response.headers["Content-Security-Policy"] = _PAGE_POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response


def _is_signed_in() -> bool:
    """Is somebody signed in? While that is not known, nobody is: the page itself must come all the same."""
    try:
        return principal().signed_in
    except Problem:
        return False


@blp.get("/docs-assets/<name>")
def asset(name: str) -> Response:
    """A file of the page."""
    if name in _OWN:
        return send_from_directory(str(files("api") / "docs_page"), name, max_age=300)
    if name in _LIBRARIES:
        return send_from_directory(str(files("flask_swagger_ui") / "dist"), name, max_age=86400)
    raise Problem("not-found", "The documentation page has no such file.")


@blp.get("/swagger.json")
@blp.get("/openapi.json")
def document() -> Response:
    """The OpenAPI document."""
    return document_response(current_app)


@blp.get("/problems/<code>")
def problem(code: str) -> Response:
    """What a kind of problem means: a page for people, JSON for others."""
    kind = PROBLEM_TYPES.get(code)
    if kind is None:
        raise Problem("not-found", "There is no such kind of problem.")
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        response = Response(render_template("problem.html", code=code, kind=kind))
        response.headers["Content-Security-Policy"] = _PAGE_POLICY
    else:
        response = Response(orjson.dumps({"code": code, **kind._asdict()}), content_type="application/json")
    response.headers["Vary"] = "Accept"
    return response
