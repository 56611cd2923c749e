"""The overview: storage systems with capacity, jobs now, and what needs attention."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from flask import Response

from api import auth
from api.console import charts
from api.console.api_client import call
from api.console.capacity import NEARLY_FULL_PERCENT, CachedCapacity, cached_capacity
from api.console.job_links import CHANGES
from api.console.pages import page, redirect_to, render
from api.monitoring import service_status
from api.resources.status import status_values
from api.services import current_services
from worker.catalog.operations import Role

#: Jobs that are looked through for the latest changes: a batch stands for its members.
_LOOKED_THROUGH = 100
_SHOWN_CHANGES = 8


@page("", access=Role.USER)
def without_slash() -> Response:
    """The console's address without a slash."""
    return redirect_to("/console/")


@page("/", access=Role.USER)
def overview() -> Response:
    """The first page."""
    services = current_services()
    try:
        values = status_values(services, auth.principal())
        history = service_status.history(services)
    except redis.RedisError:
        response = render("unavailable.html", 503)
        response.headers["Retry-After"] = "2"
        return response
    systems = [System(backend, cached_capacity(backend.subsystem)) for backend in values["filers"]]
    return render(
        "overview.html",
        systems=systems,
        nearly_full_percent=NEARLY_FULL_PERCENT,
        now=_now(values["queues"]),
        jobs=_latest_changes(),
        plot=charts.day_plot(history, time.time()),
        a_day_ago=(datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds").replace("+00:00", "Z"),
        events={},
        **values,
    )


@dataclass(frozen=True, slots=True)
class System:
    """One storage system: its health, and its capacity as far as a listing is cached."""

    backend: service_status.BackendStatus
    cached: CachedCapacity | None


def _now(queues: Sequence[service_status.QueueStatus]) -> dict[str, int]:
    """Add up what is under way."""
    return {
        "running": sum(queue.running for queue in queues),
        "waiting": sum(queue.waiting for queue in queues),
        "workers": len({worker for queue in queues for worker in queue.workers}),
    }


def _latest_changes() -> list[Mapping[str, Any]]:
    who = auth.principal()
    if not who.signed_in:
        return []
    everybody = {"all": "true"} if who.roles & {Role.ADMIN, Role.UBER_ADMIN} else {}
    answer = call("GET", "/v4/jobs", query={"limit": _LOOKED_THROUGH, "operation": CHANGES, **everybody})
    jobs = answer.body if answer.status == 200 and isinstance(answer.body, list) else []  # noqa: PLR2004
    return [job for job in jobs if not job.get("batch")][:_SHOWN_CHANGES]
