"""Plans the jobs of a batch: each member goes through the view of its route, which validates it like any request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from flask import current_app
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import MapAdapter

from api import auth
from api.auth import audit, principal
from api.batches.batch_request import Member
from api.http.member_requests import MemberRequest, answering
from api.http.problems import MOST_ERRORS, Problem
from api.jobs.submit import MemberResponse
from api.schemas import names
from api.services import current_services
from worker.catalog.operations import Operation
from worker.jobs.service import NewJob

_NO_FAULT_OF_ITS = (401, 403, 429, 500, 503)


@dataclass(frozen=True, slots=True)
class _Routed:
    """A member with the view of its route."""

    member: Member
    view_class: Any
    view: Any
    view_args: Mapping[str, str]
    operation: Operation


def plan(members: Sequence[Member]) -> list[NewJob]:
    """Return the jobs for the members.

    Raises:
        Problem: `missing-role`, or `validation-failed` with a pointer to everything that is wrong.
    """
    errors: list[dict[str, str]] = []
    adapter = current_app.url_map.bind("localhost")
    routed = [_route(adapter, member, errors) for member in members]
    _require_roles([member_route for member_route in routed if member_route is not None])
    planned = [_planned(member_route, errors) for member_route in routed if member_route is not None]
    audit.decide(operation="create_batch")
    if errors:
        _refuse(errors)
    return [member_route for member_route in planned if member_route is not None]


def _route(adapter: MapAdapter, member: Member, errors: list[dict[str, str]]) -> _Routed | None:
    path = unquote(member.path)
    if "?" in member.path or "#" in member.path:
        _wrong(errors, f"{member.pointer}/path", "must have no query and no fragment")
        return None
    try:
        endpoint, view_args = adapter.match(path, method=member.method)
    except MethodNotAllowed:
        _wrong(errors, f"{member.pointer}/method", "is not possible at this path")
        return None
    except HTTPException:
        _wrong(errors, f"{member.pointer}/path", "there is nothing at this address; / lists what there is")
        return None
    view_class = getattr(current_app.view_functions[endpoint], "view_class", None)
    view = getattr(view_class, member.method.lower(), None)
    operations = getattr(view, "operations", ())
    if not operations or not operations[0].is_change:
        _wrong(errors, f"{member.pointer}/path", "is no change of a storage system; a batch has only changes")
        return None
    return _Routed(member, view_class, view, view_args, operations[0])


def _require_roles(routed: Sequence[_Routed]) -> None:
    missing = [member_route for member_route in routed if member_route.operation.role not in principal().roles]
    if not missing:
        return
    try:
        auth.require(missing[0].operation.role, operation="create_batch", target=missing[0].member.path)
    except Problem as problem:
        for member_route in missing:
            _wrong(problem.errors, member_route.member.pointer, f"needs the role {member_route.operation.role}")
        raise


def _planned(routed: _Routed, errors: list[dict[str, str]]) -> NewJob | None:
    member, view_args = routed.member, dict(routed.view_args)
    if view_args["subsystem"] not in current_services().subsystems:
        _wrong(errors, f"{member.pointer}/path", "no storage system of this name is configured")
        return None
    try:
        names.check_path(view_args)
    except Problem as problem:
        _wrong(errors, f"{member.pointer}/path", problem.detail)
        return None
    try:
        with answering(MemberRequest(unquote(member.path), view_args, member.body)):
            answer = routed.view(routed.view_class(), **view_args)
    except Problem as problem:
        if problem.status in _NO_FAULT_OF_ITS:
            raise
        for error in problem.errors or [{"pointer": "", "detail": problem.detail}]:
            _wrong(errors, f"{member.pointer}/body{error['pointer']}", error["detail"])
        return None
    assert isinstance(answer, MemberResponse)  # noqa: S101 - views of changes answer members so
    return answer.new_job


def _wrong(errors: list[dict[str, str]], pointer: str, detail: str) -> None:
    """Name a mistake once, though all members of `for_each` have it: they have the same template."""
    error = {"pointer": pointer, "detail": detail}
    if len(errors) < MOST_ERRORS and error not in errors:
        errors.append(error)


def _refuse(errors: list[dict[str, str]]) -> None:
    detail = "; ".join(f"{error['pointer'].removeprefix('/')}: {error['detail']}" for error in errors[:5])
    raise Problem("validation-failed", f"Nothing was accepted. {detail}", errors=errors)
