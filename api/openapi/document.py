"""The OpenAPI document: generated from the routes when it is first read, and cached as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import flask_smorest
import orjson
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_instance
from flask import Flask, Response, request

from api.http.problems import MEDIA_TYPE
from api.openapi.operations import ENDED, SHARED_HEADERS, problem_headers
from api.schemas.jobs import ProblemSchema

_DESCRIPTION = """\
Volumes, snapshots, locks and export policies on storage systems, by jobs.

Every change becomes a **job**: the answer is `202 Accepted` with the job's address, unless you ask to wait with
`Prefer: wait=N`. Reads are answered from the cache where it is fresh enough. Roles are distinct: none contains another.
[Sign in](/login), or send a bearer token. Errors are problem documents (RFC 9457).
"""


#: Key of the application's `OpenApiDocument` in its extensions.
EXTENSION = "openapi document"

_PROBLEM = {MEDIA_TYPE: {"schema": ProblemSchema}}


class _Api(flask_smorest.Api):
    """flask-smorest's class, with problem documents for errors."""

    ERROR_SCHEMA = ProblemSchema

    def _register_responses(self) -> None:
        for status in HTTPStatus:
            response: dict[str, Any] = {"description": status.phrase}
            if status >= HTTPStatus.BAD_REQUEST:
                response |= {"content": _PROBLEM, "headers": problem_headers(status)}
            self.spec.components.response(status.name, response, lazy=True)
        self.spec.components.response("DEFAULT_ERROR", {"description": "Problem", "content": _PROBLEM}, lazy=True)

    def _register_error_handlers(self) -> None:
        """Register none: `api.http.error_handlers` has the handlers."""


class OpenApiDocument:
    """The document of an application: generated when it is first read.

    flask-smorest generates it while it registers blueprints, which takes longer than all else in ``create_app``.
    So they are registered there with an application that serves nothing.

    Args:
        app: the application that is described; its configuration has the version (``API_VERSION``).
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._blueprints: list[tuple[flask_smorest.Blueprint, list[dict[str, Any]]]] = []
        #: By the name of the session's cookie, which differs where the client came by TLS.
        self._by_cookie: dict[str, bytes] = {}
        app.extensions[EXTENSION] = self

    def register_blueprint(self, blueprint: flask_smorest.Blueprint, parameters: Sequence[dict[str, Any]] = ()) -> None:
        """Serve a blueprint, and describe it.

        Args:
            blueprint: its routes are added to the application.
            parameters: descriptions of the path parameters in its address prefix.
        """
        self._app.register_blueprint(blueprint)
        self._blueprints.append((blueprint, list(parameters)))

    @property
    def json(self) -> bytes:
        """The document as JSON, with the name that the session's cookie has for the client of the current request."""
        cookie = self._app.session_interface.get_cookie_name(self._app)
        if cookie not in self._by_cookie:
            self._by_cookie[cookie] = self._generated(cookie)
        return self._by_cookie[cookie]

    def _generated(self, cookie: str) -> bytes:
        described = Flask("api", static_folder=None, template_folder=None)
        described.url_map.converters.update(self._app.url_map.converters)
        api = _create_api(described, self._app.config["API_VERSION"])
        for blueprint, parameters in self._blueprints:
            api.register_blueprint(blueprint, parameters=parameters)
        for name, scheme in _security_schemes(cookie).items():
            api.spec.components.security_scheme(name, scheme)
        return orjson.dumps(api.spec.to_dict())


def _create_api(app: Flask, version: str) -> _Api:
    app.config.update(
        API_TITLE="storage-api",
        API_VERSION=version,
        OPENAPI_VERSION="3.1.0",
        API_SPEC_OPTIONS={
            "webhooks": {"jobEnded": ENDED},
            "info": {"description": _DESCRIPTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        },
    )
    api = _Api(app, spec_kwargs={"marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_schema_name)})
    for name, header in SHARED_HEADERS.items():
        api.spec.components.header(name, header)
    return api


def _schema_name(schema: Any) -> str:
    """Return the schema's name; records of a collection, which may lack fields (`fields`), have another one."""
    instance = resolve_schema_instance(schema)
    name = type(instance).__name__.removesuffix("Schema")
    return f"Listed{name}" if instance.partial else name


def _security_schemes(cookie: str) -> dict[str, Any]:
    return {
        "session": {"type": "apiKey", "in": "cookie", "name": cookie, "description": "From signing in at /login"},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "basic": {"type": "http", "scheme": "basic", "description": "Only where it is configured"},
    }


def document_response(app: Flask) -> Response:
    """Return the response with the document of an application."""
    document = app.extensions[EXTENSION].json
    if request.script_root:
        document = orjson.dumps(orjson.loads(document) | {"servers": [{"url": request.script_root}]})
    response = Response(document, content_type="application/json")
    response.add_etag()
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response
