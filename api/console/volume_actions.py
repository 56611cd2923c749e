"""Forms that change a volume: each is one call of the API, and leads to its job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, request

from api import auth
from api.console.api_client import ApiResponse, call
from api.console.forms import body_of, field_errors, idempotency_key
from api.console.pages import page, problem_page, render, to_job
from api.http.problems import Problem
from worker.catalog.operations import Role


@dataclass(frozen=True, slots=True)
class Action:
    """One form: its words, the role that it needs, and the call that it makes."""

    title: str
    button: str
    role: Role
    method: str
    fields: tuple[str, ...] = ()
    #: Must the volume's name be typed?
    is_confirmed: bool = False


_CHANGES = (
    "size_total", "autosize_enabled", "max_autosize", "active_policy_name", "percentage_snapshot_reserve",
    "compression_enabled", "inline_compression", "caching_policy", "snapshot_policy", "security_style",
    "unix_permissions", "space_guarantee", "qos_policy", "tiering_policy", "comment",
)  # fmt: skip
_NEW = ("size_total", "junction_path", "active_policy_name", "aggregate_name", "percentage_snapshot_reserve")

ACTIONS = {
    "snapshot": Action("Take a snapshot", "Take the snapshot", Role.ADMIN, "POST", ("name", "purge_old_if_needed")),
    "change": Action("Change the volume", "Change", Role.UBER_ADMIN, "PATCH", _CHANGES),
    "clone": Action(
        "Clone the volume", "Clone", Role.ADMIN, "POST", ("new_name", "from_snapshot", "junction_path", "size_total")
    ),
    "roll-back": Action(
        "Roll back to a snapshot", "Roll back", Role.ADMIN, "POST", ("from_snapshot",), is_confirmed=True
    ),
    "restrict": Action("Take the volume out of service", "Restrict", Role.UBER_ADMIN, "DELETE", is_confirmed=True),
}


@page("/<subsystem>/new-volume", access=Role.ADMIN, methods=["GET", "POST"])
def new_volume(subsystem: str) -> Response:
    """The form that creates a volume."""
    if request.method == "GET":
        return _new_form(subsystem, {}, None)
    name = request.form.get("name", "").strip()
    answer = call(
        "POST", f"/v4/{subsystem}/volumes/{name}", body=body_of(request.form, _NEW), headers=idempotency_key()
    )
    return to_job(answer) if answer.job_id else _new_form(subsystem, request.form, answer)


def _new_form(subsystem: str, values: Mapping[str, Any], answer: ApiResponse | None) -> Response:
    return render(
        "new_volume.html",
        200 if answer is None else answer.status,
        subsystem=subsystem,
        values=values,
        problem=answer.body if answer else None,
        errors=field_errors(answer.body if answer else None),
        key=values.get("key") or secrets.token_hex(16),
    )


@page("/<subsystem>/volume-actions/<action>/<path:volume>", access=Role.USER)
def action_form(subsystem: str, action: str, volume: str) -> Response:
    """The form of an action."""
    chosen = _action(action)
    auth.require(chosen.role, operation=f"console {action}")
    return _form(subsystem, volume, action, request.args, None)


@page("/<subsystem>/volume-actions/<action>/<path:volume>", access=Role.USER, methods=["POST"])
def act_on_volume(subsystem: str, action: str, volume: str) -> Response:
    """Carry the action out."""
    chosen = _action(action)
    auth.require(chosen.role, operation=f"console {action}")
    fields = request.form
    if chosen.is_confirmed and fields.get("confirm", "").strip() != volume:
        return _form(subsystem, volume, action, fields, None, confirm_error="Type the volume's name to go on.")
    answer = _send(subsystem, volume, action, fields)
    return to_job(answer) if answer.job_id else _form(subsystem, volume, action, fields, answer)


def _send(subsystem: str, volume: str, action: str, fields: Mapping[str, Any]) -> ApiResponse:
    base = f"/v4/{subsystem}/volumes/"
    headers = idempotency_key()
    if action == "snapshot":
        path = f"{base}{volume}/snapshots/{fields.get('name', '').strip()}"
        return call("POST", path, body=body_of(fields, ("purge_old_if_needed",)), headers=headers)
    if action == "clone":
        body = body_of(fields, ("from_snapshot", "junction_path", "size_total")) | {"from_volume": volume}
        return call("POST", base + str(fields.get("new_name", "")).strip(), body=body, headers=headers)
    chosen = ACTIONS[action]
    if chosen.method == "DELETE":
        return call("DELETE", base + volume, headers=headers)
    return call(chosen.method, base + volume, body=body_of(fields, chosen.fields), headers=headers)


def _form(
    subsystem: str,
    volume: str,
    action: str,
    values: Mapping[str, Any],
    answer: ApiResponse | None,
    confirm_error: str = "",
) -> Response:
    known = call("GET", f"/v4/{subsystem}/volumes/{volume}", headers={"Prefer": "wait=5"})
    if known.status != 200:  # noqa: PLR2004
        return problem_page(known)
    snapshots = call("GET", f"/v4/{subsystem}/volumes/{volume}/snapshots", headers={"Prefer": "wait=5"})
    rows = snapshots.body if isinstance(snapshots.body, list) else []
    status = 422 if confirm_error else 200 if answer is None else answer.status
    return render(
        "volume_action.html",
        status,
        subsystem=subsystem,
        volume=known.body,
        action=action,
        chosen=_action(action),
        values=values,
        snapshots=rows,
        later=_later_than(rows, str(values.get("from_snapshot", ""))),
        problem=answer.body if answer else None,
        errors=field_errors(answer.body if answer else None),
        confirm_error=confirm_error,
        key=values.get("key") or secrets.token_hex(16),
    )


def _later_than(snapshots: list[Mapping[str, Any]], name: str) -> list[str]:
    """The snapshots that a roll-back to ``name`` deletes."""
    chosen = next((each for each in snapshots if each["name"] == name), None)
    if chosen is None:
        return []
    return [str(each["name"]) for each in snapshots if str(each["creation_time"]) > str(chosen["creation_time"])]


def _action(name: str) -> Action:
    if name not in ACTIONS:
        raise Problem("not-found", "There is no such action.")
    return ACTIONS[name]
