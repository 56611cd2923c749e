"""``POST /conf/sessions/{user}/end``: an administrator ends all sessions of somebody."""

from __future__ import annotations

from flask import Response, jsonify
from flask_smorest import Blueprint

from api.auth import audit
from api.auth.access import require
from api.auth.openapi import problems
from api.auth.refusals import reject_without_store
from api.auth.services import auth_services
from api.auth.sessions import SessionStoreUnavailable
from api.http.arguments_parser import reject_query_parameters
from api.http.preconditions import reject_preconditions
from api.http.problems import Problem
from worker.catalog.operations import Role

#: The maximum length of a user name.
_LONGEST = 255
_ENDED = {
    "type": "object",
    "required": ["ended"],
    "properties": {"ended": {"type": "integer", "description": "How many sessions there were"}},
}
_USER = {
    "in": "path",
    "name": "user",
    "description": "Their name, as `requested_by` of jobs has it, or their id (`sub`) at the provider",
    "schema": {"type": "string"},
    "example": "jdoe",
}

sessions_blueprint = Blueprint("sessions", __name__, url_prefix="/conf/sessions", description="Sessions of users")
_CONTENT = {"application/json": {"schema": _ENDED, "example": {"ended": 2}}}


def end_sessions(user: str) -> Response:
    """End all sessions of a user.

    In every browser, here and in Flower, and open event streams with them. It does not keep them from signing in again,
    which the provider decides, nor take away bearer tokens, which are the provider's, too. Needs UBER_ADMIN.
    """
    audit.concerns("end-sessions")
    require(Role.UBER_ADMIN, operation="end_sessions", target=user)
    reject_query_parameters()
    if len(user) > _LONGEST or not user.isprintable():
        raise Problem("validation-failed", f"A user's name has at most {_LONGEST} characters, all printable.")
    reject_preconditions()
    try:
        ended = auth_services().sessions.end_all_of(user)
    except SessionStoreUnavailable as unavailable:
        reject_without_store(unavailable)
    return jsonify(ended=ended)


# Declares the role of the route, as for every route; `require` enforces it.
end_sessions.access = Role.UBER_ADMIN  # type: ignore[attr-defined]
sessions_blueprint.route("/<user>/end", methods=["POST"])(
    sessions_blueprint.doc(
        operationId="end_sessions",
        parameters=[_USER],
        responses={"200": {"description": "OK", "content": _CONTENT}} | problems(401, 403, 412, 422, 429, 503),
    )(end_sessions)
)
