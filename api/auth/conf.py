"""``/conf``: what is configured, as far as everybody may know it, and which roles the one who asks has."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Never

from flask import Response, jsonify
from flask_smorest import Blueprint

from api.auth.access import principal
from api.auth.openapi import problems
from api.auth.services import auth_services
from api.http.arguments_parser import reject_query_parameters
from api.http.problems import Problem
from api.services import current_services
from worker.catalog.operations import Role

_NAMES = {"type": "array", "items": {"type": "string"}}
_ROLE_NAMES = {"type": "array", "items": {"type": "string", "enum": [role.value for role in Role]}}
_ROLE = {
    "in": "path",
    "name": "role",
    "description": "USER, ADMIN or UBER_ADMIN",
    "schema": {"type": "string"},
    "example": "ADMIN",
}

View = Callable[..., Response]

conf_blueprint = Blueprint("configuration", __name__, url_prefix="/conf", description="What is configured")


def _document(name: str, schema: dict[str, Any], example: Any, *statuses: int, takes_role: bool = False) -> Any:
    content = {"application/json": {"schema": schema, "example": example}}
    responses = {"200": {"description": "OK", "content": content}} | problems(*statuses, 422)
    parameters = [_ROLE] if takes_role else []
    documented = conf_blueprint.doc(operationId=name, security=[], responses=responses, parameters=parameters)

    def decorate(view: View) -> Any:
        @wraps(view)
        def answer(**path: str) -> Response:
            reject_query_parameters()
            return view(**path)

        return documented(answer)

    return decorate


@conf_blueprint.route("/subsystems")
@_document("list_subsystems", _NAMES, ["netapp", "dummy"])
def subsystems() -> Response:
    """List the configured subsystems."""
    return jsonify(list(current_services().subsystems))


@conf_blueprint.route("/roles")
@_document("list_roles", _ROLE_NAMES, [role.value for role in Role])
def roles() -> Response:
    """List the roles."""
    return jsonify([role.value for role in Role])


@conf_blueprint.route("/roles/<role>/egroups")
@_document("list_egroups", _NAMES, ["it-storage-admins"], 404, takes_role=True)
def egroups(role: str) -> Response:
    """List the groups whose members have a role.

    Without groups, everybody is USER, and nobody is ADMIN or UBER_ADMIN.
    """
    return jsonify(list(auth_services().roles.groups(_role(role))))


@conf_blueprint.route("/roles/<role>/am_i_a")
@_document("am_i_a", {"type": "boolean"}, True, 401, 404, 429, 503, takes_role=True)
def am_i_a(role: str) -> Response:
    """Do I have a role?"""
    requested = _role(role)
    return jsonify(requested in principal().roles)


@conf_blueprint.route("/me/roles")
@_document("list_my_roles", _ROLE_NAMES, ["USER", "ADMIN"], 401, 429, 503)
def my_roles() -> Response:
    """List my roles."""
    return jsonify([role.value for role in Role if role in principal().roles])


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        _refuse(name)


def _refuse(name: str) -> Never:
    raise Problem("not-found", f"There is no role {name!r}: roles are {', '.join(role.value for role in Role)}.")
