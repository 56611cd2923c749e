"""Cancelling or retrying every job that a filter names: first what that would be, then one call of the API."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Response, request

from api.console.api_client import ApiResponse, call
from api.console.forms import idempotency_key
from api.console.job_links import CHANGES, REPEATABLE, UNFINISHED
from api.console.pages import page, problem_page, render
from api.console.wording import field_label
from api.http.problems import Problem
from api.openapi.blueprint import SIGNED_IN
from worker.catalog.problem_types import PROBLEM_TYPES

#: As many as one call of the API takes.
_MOST_JOBS = 1000
_SHOWN_ROWS = 20


@dataclass(frozen=True, slots=True)
class BulkAction:
    """What is done to many jobs: its words, and the states of the jobs to which it can be done."""

    button: str
    done: str
    result: str
    states: str
    is_dangerous: bool


ACTIONS = {
    "cancel": BulkAction("Cancel", "cancelled, or asked to stop", "cancelled", UNFINISHED, is_dangerous=True),
    "retry": BulkAction("Retry", "submitted anew", "retried", REPEATABLE, is_dangerous=False),
}


def bulk_action_of(states: str) -> str:
    """Return the name of what can be done to all jobs in these states (comma-separated); empty: nothing."""
    named = set(states.split(",")) - {""}
    return next((name for name, action in ACTIONS.items() if named and named <= set(action.states.split(","))), "")


@page("/job-actions/<action>", access=SIGNED_IN)
def bulk_form(action: str) -> Response:
    """Which jobs the filter names now, and the button."""
    chosen = _action(action)
    filters = {name: value for name, value in request.args.items() if value}
    answer = call("GET", "/v4/jobs", query={**filters, "limit": _MOST_JOBS})
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    return render(
        "bulk_form.html",
        action=action,
        chosen=chosen,
        rows=answer.body[:_SHOWN_ROWS],
        count=len(answer.body),
        most_jobs=_MOST_JOBS,
        words=[_in_words(name, value) for name, value in filters.items()],
        frozen={**filters, **_until_newest(answer.body)},
        key=secrets.token_hex(16),
    )


def _until_newest(jobs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The filter that leaves out what is submitted after the page was made."""
    if not jobs:
        return {}
    after = datetime.fromisoformat(jobs[0]["created_at"]) + timedelta(milliseconds=1)
    return {"created_before": after.isoformat(timespec="milliseconds")}


def _in_words(name: str, value: str) -> str:
    if name == "all":
        return "everybody's" if value == "true" else "your own"
    return "changes only" if value == CHANGES else f"{field_label(name).lower()}: {value.replace(',', ', ')}"


@page("/job-actions/<action>", access=SIGNED_IN, methods=["POST"])
def act_on_jobs(action: str) -> Response:
    """Do it, and say to which jobs it could not be done."""
    chosen = _action(action)
    body: dict[str, Any] = {name: value for name, value in request.form.items() if name != "key" and value}
    if body.get("all") == "true":
        body["all"] = True
    headers = idempotency_key() if action == "retry" else {}
    answer = call("POST", f"/v4/jobs/{action}", body=body, headers=headers)
    return _result(chosen, answer) if answer.status == 200 else problem_page(answer)  # noqa: PLR2004


def _result(chosen: BulkAction, answer: ApiResponse) -> Response:
    refused: list[Mapping[str, str]] = answer.body["refused"]
    return render(
        "bulk_result.html",
        chosen=chosen,
        done=answer.body[chosen.result],
        refused=[{**job, "title": PROBLEM_TYPES[job["code"]].title} for job in refused],
    )


def _action(name: str) -> BulkAction:
    if name not in ACTIONS:
        raise Problem("not-found", "Jobs can be cancelled or retried.")
    return ACTIONS[name]
