"""Parts of the OpenAPI document beside bodies: headers, accepted jobs, security, parameters of collections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import marshmallow as ma

from api.schemas.jobs import JobSchema
from api.schemas.resources import DetailedPolicySchema, LockSchema, PolicySchema, SnapshotSchema, VolumeSchema
from worker.catalog.operations import Operation, Role
from worker.catalog.resource_types import LOCKS, POLICIES, POLICY, RESTRICTED, SNAPSHOT, SNAPSHOTS, VOLUME, VOLUMES
from worker.catalog.success_status import RETURNS_LOCATION, success_status

_SCHEMAS: dict[str, type[ma.Schema]] = {
    VOLUMES.name: VolumeSchema,
    VOLUME.name: VolumeSchema,
    RESTRICTED.name: VolumeSchema,
    SNAPSHOTS.name: SnapshotSchema,
    SNAPSHOT.name: SnapshotSchema,
    LOCKS.name: LockSchema,
    POLICIES.name: PolicySchema,
    POLICY.name: DetailedPolicySchema,
}

#: The ways to authenticate; also the names of the security schemes.
SCHEMES = ("session", "bearer", "basic")

Decorator = Callable[[Any], Any]


def header(description: str, kind: str = "string", **schema: Any) -> dict[str, Any]:
    """Return the documentation of a response header."""
    return {"description": description, "schema": {"type": kind, **schema}}


REQUEST_ID = {"X-Request-ID": header("The request's id: yours, or one that was made")}
RETRY_AFTER = {"Retry-After": header("Seconds after which it is worth asking again", "integer", minimum=0)}
#: Statuses of problems that are found before there is a job.
_WITHOUT_JOB = frozenset({400, 401, 403, 405, 412, 413, 414, 415, 431})
_OF_STATUS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": header("The ways to sign in (RFC 9110, RFC 6750)")},
    403: {"WWW-Authenticate": header("Of a bearer token whose bearer lacks the role (RFC 6750)")},
    405: {"Allow": header("The methods that are possible")},
    415: {"Accept": header("The media type that is taken"), "Accept-Encoding": header("The codings that are taken")},
    **dict.fromkeys((409, 429, 503, 504), RETRY_AFTER),
}


def problem_headers(status: int) -> dict[str, Any]:
    """Return the documentation of the headers that problems of a status may have."""
    job = {} if status in _WITHOUT_JOB else _OPERATION | {"Cache-Status": _CACHED["Cache-Status"]}
    return REQUEST_ID | _OF_STATUS.get(status, {}) | job


APPLIED = {"Preference-Applied": header("Which Prefer was honoured")}
_JOB_LINKS = {
    "Location": header("The job", format="uri-reference"),
    "Operation-Location": header("The job", format="uri-reference"),
}
ACCEPTED = REQUEST_ID | _JOB_LINKS | RETRY_AFTER | APPLIED | {"ETag": header("The job's version")}
_OPERATION = REQUEST_ID | {
    "Operation-Location": header("The job that did it", format="uri-reference"),
    **APPLIED,
    "Idempotency-Replayed": header("true when the Idempotency-Key was known"),
}
_CREATED = {"Location": header("Where the object is", format="uri-reference")}
_CACHED = REQUEST_ID | {
    "ETag": header("Names this state"),
    "Age": header("Seconds since the storage system was asked", "integer", minimum=0),
    "Last-Modified": header("When the storage system was asked, or a change was made since"),
    "Cache-Control": header("How long this is fresh, and how long it may be shown stale"),
    "Cache-Status": header("hit or fwd=…, and ttl (RFC 9211)"),
    "Operation-Location": header("The job that refreshes it", format="uri-reference"),
    **APPLIED,
}
_READING = ACCEPTED | {"Cache-Status": _CACHED["Cache-Status"]}
_COUNTED = {
    "X-Total-Count": header("How many there are, before limit", "integer", minimum=0),
    "Link": header('The next page: <…>; rel="next"'),
}


def _parameter(where: str, name: str, description: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"in": where, "name": name, "description": description, "schema": schema, **more}


PREFER = _parameter(
    "header", "Prefer", "`wait=N`: wait up to N seconds; `respond-async`: do not wait (RFC 7240)", {"type": "string"}
)
IF_NONE_MATCH = _parameter(
    "header", "If-None-Match", "ETag of what you have: 304 while it is the same", {"type": "string"}
)
IDEMPOTENCY = _parameter(
    "header",
    "Idempotency-Key",
    "Repeating a request with the same key makes no second job (kept 24 h)",
    {"type": "string", "minLength": 1, "maxLength": 255},
)
CACHE_CONTROL = _parameter(
    "header", "Cache-Control", "`no-cache`, `max-age=N`, `max-stale[=N]`, `only-if-cached`", {"type": "string"}
)

#: Headers of all responses below /v3.
OF_V3 = {
    **REQUEST_ID,
    "Deprecation": header("Since when it is deprecated (RFC 9745)"),
    "Sunset": header("When it is to go (RFC 8594)"),
    "Link": header('The same below /v4: <…>; rel="successor-version"; and the manual\'s page'),
    "Operation-Location": header("The job that did it", format="uri-reference"),
}
#: Headers that responses refer to by their names.
SHARED_HEADERS = OF_V3 | RETRY_AFTER
#: Headers of `/result`, by its status: those of the synchronous call.
RESULT: dict[int, dict[str, Any]] = {200: _CACHED | _COUNTED, 201: _OPERATION | _CREATED, 204: _OPERATION, 304: _CACHED}
#: With `Accept: text/html` the response is a page for people.
PAGE: dict[int, Any] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}

PAGING = [
    _parameter("query", "limit", "At most so many", {"type": "integer", "minimum": 1, "maximum": 1000}),
    _parameter("query", "page_token", "Where the next page begins, from the Link header", {"type": "string"}),
]


def security(access: str) -> list[dict[str, list[str]]]:
    """Return the security requirement of a view, with its roles."""
    if access == Role.USER:
        # Anonymous clients have it, too, where no user group is configured.
        return [{}, *({scheme: [access]} for scheme in SCHEMES)]
    roles = [access] if access in frozenset(Role) else []
    return [] if access == "anyone" else [{scheme: roles} for scheme in SCHEMES]


CALLBACK: dict[str, Any] = {
    "in": "header",
    "name": "Callback-URL",
    "description": "Where the end of the job is to be sent; only to hosts that whoever runs the service has named",
    "schema": {"type": "string", "format": "uri"},
}


def _webhook_header(name: str, description: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "required": True, "description": description, "schema": {"type": "string"}}


#: The webhook for the end of a job.
ENDED: dict[str, Any] = {
    "post": {
        "summary": "A job has ended",
        "description": "Signed by the Standard Webhooks specification. Answer with 2xx; anything else is tried again.",
        "parameters": [
            _webhook_header("webhook-id", "The message's id: the same when it comes again"),
            _webhook_header("webhook-timestamp", "When it was sent (Unix seconds)"),
            _webhook_header("webhook-signature", "v1, and the signature"),
        ],
        "requestBody": {
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["type", "timestamp", "data"],
                        "properties": {
                            "type": {"enum": ["job.succeeded", "job.failed", "job.cancelled"]},
                            "timestamp": {"type": "string", "format": "date-time"},
                            "data": {"$ref": "#/components/schemas/Job"},
                        },
                    }
                }
            }
        },
        "responses": {"2XX": {"description": "The receiver has it"}},
    }
}
CALLBACKS = {"{$request.header.Callback-URL}": ENDED}


def document_change(blueprint: Any, operation: Operation) -> Decorator:
    """Document the final response of a change, and the job of one that takes longer."""
    status = success_status(operation)
    put = next((effect.resource_type for effect in operation.effects if effect.what == "upsert"), None)
    schema = _SCHEMAS[put.name] if put and status != 204 else None  # noqa: PLR2004 - No Content
    location = _CREATED if operation.name in RETURNS_LOCATION else {}

    def decorate(view: Any) -> Any:
        view = blueprint.response(202, JobSchema, description="Accepted: follow the job", headers=ACCEPTED)(view)
        view = blueprint.response(int(status), schema, headers=_OPERATION | location)(view)
        return blueprint.doc(parameters=[PREFER, IDEMPOTENCY, CALLBACK], callbacks={"ended": CALLBACKS})(view)

    return decorate


def document_read(blueprint: Any, operation: Operation) -> Decorator:
    """Document the response from the cache, and the job without one."""
    assert operation.reads is not None  # noqa: S101 - a mistake in the code
    schema = _SCHEMAS[operation.reads.name]
    many = not operation.reads.single
    headers = _CACHED | (_COUNTED if many else {})
    parameters = [PREFER, IF_NONE_MATCH, CACHE_CONTROL, *(collection_parameters(schema) if many else [])]

    def decorate(view: Any) -> Any:
        view = blueprint.response(202, JobSchema, description="Not cached: follow the job", headers=_READING)(view)
        view = blueprint.response(304, description="Not modified", headers=_CACHED)(view)
        view = blueprint.response(200, schema(many=many, partial=many or None), headers=headers)(view)
        return blueprint.doc(parameters=parameters)(view)

    return decorate


def collection_parameters(schema: type[ma.Schema]) -> list[dict[str, Any]]:
    """Return the query parameters of a collection: pages, sorting, choice of fields, and a filter on each field.

    Without examples: the documentation page would send each as it is.
    """
    fields = schema().fields
    one = "|".join(fields)
    return [
        *PAGING,
        _parameter(
            "query",
            "sort",
            "Fields to sort by, comma-separated; `-` before one for the reverse",
            {"type": "string", "pattern": f"^-?({one})(,-?({one}))*$"},
        ),
        _parameter(
            "query",
            "fields",
            "Fields to show, comma-separated",
            {"type": "string", "pattern": f"^({one})(,({one}))*$"},
        ),
        *(_filter(name, field) for name, field in fields.items()),
    ]


def _filter(name: str, field: ma.fields.Field) -> dict[str, Any]:
    operators = "a value, `*` for any text, `a|b`, `!a`, `>a`, `<a`, `>=a`, `<=a`, `a..b`, `null`"
    documented: dict[str, Any] = {"type": "string", "minLength": 1}
    if isinstance(field, ma.fields.Boolean):
        operators, documented = "`true`, `false`, `null`, `!a`", {"type": "string", "pattern": "^!?(true|false|null)$"}
    return _parameter("query", name, f"Only those whose `{name}` is: {operators}", documented)
