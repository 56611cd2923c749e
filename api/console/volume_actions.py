"""Forms that change a volume: each is one call of the API, and leads to its job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, request

from api import auth
from api.console.api_client import ApiResponse, call
from api.console.creation_form import create_named
from api.console.forms import body_of, changed_fields, field_errors, form_key, idempotency_key, wrong_name
from api.console.pages import page, problem_page, render, to_job
from api.http.problems import Problem
from worker.catalog.operations import Role

_NEW = (
    "size_total", "junction_path", "active_policy_name", "aggregate_name", "percentage_snapshot_reserve",
    "snapshot_policy", "comment",
)  # fmt: skip
#: A form shows what it is about no older than this (seconds).
_FRESH = {"Cache-Control": "max-age=15"}


@dataclass(frozen=True, slots=True)
class Action:
    """One form: its words, the role that it needs, and what it needs to know."""

    title: str
    button: str
    role: Role
    #: The HTTP method of its call.
    method: str
    #: The field whose value is a part of the address that is called.
    named_by: str = ""
    #: Must the volume's name be typed?
    is_confirmed: bool = False
    #: Can it not be undone?
    is_dangerous: bool = False
    #: Are the volume's snapshots shown?
    shows_snapshots: bool = False


ACTIONS = {
    "snapshot": Action("Take a snapshot", "Take the snapshot", Role.ADMIN, "POST", "name"),
    "delete-snapshot": Action("Delete a snapshot", "Delete", Role.ADMIN, "DELETE", "name", is_dangerous=True),
    "change": Action("Change the volume", "Save the changes", Role.UBER_ADMIN, "PATCH"),
    "clone": Action("Clone the volume", "Clone", Role.ADMIN, "POST", "new_name", shows_snapshots=True),
    "roll-back": Action(
        "Roll back to a snapshot", "Roll back", Role.ADMIN, "POST",
        is_confirmed=True, is_dangerous=True, shows_snapshots=True,
    ),
    "restrict": Action(
        "Take the volume out of service", "Restrict", Role.UBER_ADMIN, "DELETE", is_confirmed=True, is_dangerous=True
    ),
    "lock": Action("Lock the volume for a host", "Lock", Role.ADMIN, "PUT", "host"),
    "unlock": Action("Remove a lock", "Remove the lock", Role.UBER_ADMIN, "DELETE", "host", is_dangerous=True),
}  # fmt: skip


@page("/<subsystem>/new-volume", access=Role.ADMIN, methods=["GET", "POST"])
def new_volume(subsystem: str) -> Response:
    """The form that creates a volume."""
    return create_named("new_volume.html", subsystem, "volumes", body_of(request.form, _NEW))


@page("/<subsystem>/volume-actions/<action>/<path:volume>", access=Role.USER)
def action_form(subsystem: str, action: str, volume: str) -> Response:
    """The form of an action."""
    auth.require(_action(action).role, operation=f"console {action}")
    return _Form(subsystem, volume, action, request.args).page()


@page("/<subsystem>/volume-actions/<action>/<path:volume>", access=Role.USER, methods=["POST"])
def act_on_volume(subsystem: str, action: str, volume: str) -> Response:
    """Carry the action out."""
    chosen = _action(action)
    auth.require(chosen.role, operation=f"console {action}")
    form = _Form(subsystem, volume, action, request.form)
    if chosen.is_confirmed and form.values.get("confirm", "").strip() != volume:
        return form.page(confirm_error="Type the volume's name to go on.")
    if chosen.named_by and (wrong := wrong_name(form.values, chosen.named_by)):
        return form.page(errors={chosen.named_by: wrong})
    if action == "roll-back" and (refused := form.refuse_unseen()):
        return refused
    answer = _send(subsystem, volume, action, form.values)
    return to_job(answer) if answer.job_id else form.page(answer)


def _send(subsystem: str, volume: str, action: str, fields: Mapping[str, Any]) -> ApiResponse:
    """Call the API; the path's parts come from the form, and are checked there."""
    name, host, new_name = (str(fields.get(field, "")).strip() for field in ("name", "host", "new_name"))
    below, body = "", None
    match action:
        case "snapshot":
            below, body = f"/snapshots/{name}", body_of(fields, ("purge_old_if_needed",))
        case "delete-snapshot":
            below = f"/snapshots/{name}"
        case "lock" | "unlock":
            below = f"/locks/{host}"
        case "clone":
            body = body_of(fields, ("from_snapshot", "junction_path", "size_total")) | {"from_volume": volume}
        case "roll-back":
            body = body_of(fields, ("from_snapshot",))
        case "change":
            body = changed_fields(fields)
    path = f"/v4/{subsystem}/volumes/{new_name if action == 'clone' else volume}{below}"
    return call(ACTIONS[action].method, path, body=body, headers=idempotency_key())


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of one action on one volume, with what was filled in."""

    subsystem: str
    volume: str
    action: str
    values: Mapping[str, Any]

    def refuse_unseen(self) -> Response | None:
        """The form again, unless the snapshots that go are those that were named when it was filled in."""
        # Longer than for a look: what was confirmed would have to be confirmed again.
        snapshots = self._snapshots(wait_s=15)
        if isinstance(snapshots, Response):
            return snapshots
        later = _later_than(snapshots, str(self.values.get("from_snapshot", "")))
        if later == str(self.values.get("later", "")).split():
            return None
        return self.page(confirm_error="There are other later snapshots by now: look at the list again.")

    def _snapshots(self, wait_s: int = 5) -> list[Mapping[str, Any]] | Response:
        """The volume's snapshots; a page in their place while they are being read, or cannot be."""
        headers = {"Prefer": f"wait={wait_s}", **_FRESH}
        answer = call("GET", f"/v4/{self.subsystem}/volumes/{self.volume}/snapshots", headers=headers)
        if answer.status == 202:  # noqa: PLR2004
            return render("reading.html", 202, subsystem=self.subsystem, what="snapshots", job=answer.body)
        return problem_page(answer) if answer.status != 200 else answer.body  # noqa: PLR2004

    def page(
        self, answer: ApiResponse | None = None, confirm_error: str = "", errors: Mapping[str, str] | None = None
    ) -> Response:
        """The form, with what the API or the page itself found wrong.

        Without the form, a page of the API's refusal alone, where what belongs into the form cannot be read now.
        """
        chosen = _action(self.action)
        volume = call("GET", f"/v4/{self.subsystem}/volumes/{self.volume}", headers={"Prefer": "wait=5"})
        if answer is not None and volume.status != 200:  # noqa: PLR2004
            return problem_page(answer)
        if volume.status == 202:  # noqa: PLR2004
            return render("reading.html", 202, subsystem=self.subsystem, what=self.volume, job=volume.body)
        if volume.status != 200:  # noqa: PLR2004
            return problem_page(volume)
        snapshots = self._snapshots() if chosen.shows_snapshots else []
        if isinstance(snapshots, Response):
            return problem_page(answer) if answer is not None else snapshots
        return render(
            "volume_action.html",
            422 if confirm_error or errors else 200 if answer is None else answer.status,
            subsystem=self.subsystem,
            volume=volume.body,
            action=self.action,
            chosen=chosen,
            values=self.values,
            snapshots=snapshots,
            later=_later_than(snapshots, str(self.values.get("from_snapshot", ""))),
            problem=answer.body if answer else None,
            errors={**field_errors(answer.body if answer else None), **(errors or {})},
            confirm_error=confirm_error,
            key=form_key(self.values, answer.body if answer else None),
        )


def _later_than(snapshots: list[Mapping[str, Any]], name: str) -> list[str]:
    """The snapshots that a roll-back to ``name`` deletes, the oldest first."""
    chosen = next((snapshot for snapshot in snapshots if snapshot["name"] == name), None)
    if chosen is None:
        return []
    later = [snapshot for snapshot in snapshots if str(snapshot["creation_time"]) > str(chosen["creation_time"])]
    return [str(snapshot["name"]) for snapshot in sorted(later, key=lambda snapshot: str(snapshot["creation_time"]))]


def _action(name: str) -> Action:
    if name not in ACTIONS:
        raise Problem("not-found", "There is no such action.")
    return ACTIONS[name]
