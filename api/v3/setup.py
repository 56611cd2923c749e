"""Adds the v3 API to an application."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, request

from api.auth import audit
from api.auth.access import prefer_sessions
from api.http.problems import Problem
from api.openapi.document import OpenApiDocument
from api.openapi.path_parameters import subsystem_parameter
from api.services import current_services
from api.v3 import headers, problems
from api.v3.blueprint import blp
from api.v3.resources import export_policies, locks, snapshots, volumes
from api.v3.settings import EXTENSION, V3, V3Settings
from worker.config.settings import load

#: Imported for their effect: they add their routes to the blueprint.
ROUTES = (export_policies, locks, snapshots, volumes)


def init_app(app: Flask, document: OpenApiDocument, settings: V3Settings | None = None) -> None:
    """Serve the v3 API; the last step of create_app, so that other hooks see its responses as they are sent."""
    settings = settings or load(V3Settings)
    with app.app_context():
        services = current_services()
    max_age_s = services.settings.cache_fresh if settings.v3_max_age is None else settings.v3_max_age
    app.extensions[EXTENSION] = V3(settings, max_age_s)
    app.url_value_preprocessor(_begin)
    app.before_request(_refuse_other_paths)
    if settings.v3:
        app.config["LONGEST_REQUEST_S"] = max(app.config["LONGEST_REQUEST_S"], settings.v3_wait)
        document.register_blueprint(blp, [subsystem_parameter(services.subsystems)])

    @app.after_request
    def end(response: Response) -> Response:
        if headers.is_below(request.path):
            problems.translate(response)
            headers.add(response, settings)
            if request.method == "OPTIONS" and response.status_code == HTTPStatus.OK:
                response.headers.pop("Content-Type", None)
        return response


def _begin(_endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Mark the request as one of this API, before all other hooks."""
    if not headers.is_below(request.path):
        return
    prefer_sessions()
    g.counted_as = f"api v3 {_operation_id()}"
    audit.decide(api="v3", user_agent=request.headers.get("User-Agent", ""))


def _operation_id() -> str:
    served = getattr(current_app.view_functions.get(request.endpoint or ""), "view_class", None)
    method = request.method.lower().replace("head", "get")
    return str(getattr(getattr(served, method, None), "operation_id", "other"))


def _refuse_other_paths() -> None:
    """Answer 404 to paths with a slash at the end."""
    if headers.is_below(request.path) and request.path.endswith("/") and len(request.path) > len("/v3/"):
        raise Problem("not-found", "There is nothing at this address: it ends with a slash.")
