"""The OpenAPI document: generated from the routes once, and cached as bytes."""

from __future__ import annotations

from functools import cached_property
from http import HTTPStatus
from typing import Any

import flask_smorest
import orjson
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_instance
from flask import Flask, Response, request

from api.http.problems import MEDIA_TYPE
from api.openapi.operations import ENDED
from api.schemas.jobs import ProblemSchema

_DESCRIPTION = """\
Volumes, snapshots, locks and export policies on storage systems, by jobs.

Every change becomes a **job**: the answer is `202 Accepted` with the job's address, unless you ask to wait with
`Prefer: wait=N`. Reads are answered from the cache where it is fresh enough. Roles are distinct: none contains another.
[Sign in](/login), or send a bearer token. Errors are problem documents (RFC 9457).
"""


_PROBLEM = {MEDIA_TYPE: {"schema": ProblemSchema}}


class Api(flask_smorest.Api):
    """flask-smorest's class, with problem documents for errors and a cached document."""

    ERROR_SCHEMA = ProblemSchema

    def _register_responses(self) -> None:
        for status in HTTPStatus:
            response: dict[str, Any] = {"description": status.phrase}
            if status >= HTTPStatus.BAD_REQUEST:
                response["content"] = _PROBLEM
            self.spec.components.response(status.name, response, lazy=True)
        self.spec.components.response("DEFAULT_ERROR", {"description": "Problem", "content": _PROBLEM}, lazy=True)

    def _register_error_handlers(self) -> None:
        """Register none: `api.http.error_handlers` has the handlers."""

    @cached_property
    def document(self) -> bytes:
        """The document as JSON."""
        return orjson.dumps(self.spec.to_dict())


def create_api(app: Flask, version: str) -> Api:
    """Create the document of an application."""
    app.config.update(
        API_TITLE="storage-api",
        API_VERSION=version,
        OPENAPI_VERSION="3.1.0",
        API_SPEC_OPTIONS={
            "webhooks": {"jobEnded": ENDED},
            "info": {"description": _DESCRIPTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        },
    )
    return Api(app, spec_kwargs={"marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_schema_name)})


def _schema_name(schema: Any) -> str:
    """Return the schema's name; records of a collection, which may lack fields (`fields`), have another one."""
    instance = resolve_schema_instance(schema)
    name = type(instance).__name__.removesuffix("Schema")
    return f"Listed{name}" if instance.partial else name


def describe_sign_in(api: Api, app: Flask) -> None:
    """Add the security schemes, once they are known."""
    for name, scheme in _schemes(app).items():
        api.spec.components.security_scheme(name, scheme)


def _schemes(app: Flask) -> dict[str, Any]:
    cookie = app.session_interface.get_cookie_name(app)
    return {
        "session": {"type": "apiKey", "in": "cookie", "name": cookie, "description": "From signing in at /login"},
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "basic": {"type": "http", "scheme": "basic", "description": "Only where it is configured"},
    }


def document_response(api: Api) -> Response:
    """Return the response with the document."""
    document = api.document
    if request.script_root:
        document = orjson.dumps(orjson.loads(document) | {"servers": [{"url": request.script_root}]})
    response = Response(document, content_type="application/json")
    response.add_etag()
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response
