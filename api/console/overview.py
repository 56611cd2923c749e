"""The overview: storage systems with capacity, jobs now, and what needs attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis
from flask import Response

from api import auth
from api.console import charts
from api.console.api_client import call
from api.console.formatting import UNKNOWN
from api.console.pages import page, redirect_to, render
from api.monitoring import service_status
from api.resources.status import status_values
from api.services import current_services
from worker.catalog.operations import Role

#: Of listings that are read for the overview: no job is made for it, and an old copy is good enough.
_CACHED = {"Cache-Control": "only-if-cached, max-stale"}


@page("", access=Role.USER)
def without_slash() -> Response:
    """The console's address without a slash."""
    return redirect_to("/console/")


@page("/", access=Role.USER)
def overview() -> Response:
    """The first page."""
    services = current_services()
    try:
        systems = [_system(backend) for backend in _backends()]
        values = status_values(services, auth.principal())
        history = service_status.history(services)
    except redis.RedisError:
        response = render("unavailable.html", 503)
        response.headers["Retry-After"] = "2"
        return response
    return render("overview.html", systems=systems, jobs=_jobs(), columns=charts.columns(history), **values)


def _backends() -> list[service_status.BackendStatus]:
    services = current_services()
    queues = service_status.queues(services)
    return service_status.backends(services, {worker for queue in queues for worker in queue.workers})


def _system(backend: service_status.BackendStatus) -> dict[str, Any]:
    answer = call(
        "GET",
        f"/v4/{backend.subsystem}/volumes",
        query={"fields": "name,size_total,size_used,aggregate_name"},
        headers=_CACHED,
    )
    volumes = answer.body if answer.status == 200 else None  # noqa: PLR2004
    return {
        "backend": backend,
        "age_s": int(answer.headers.get("Age", 0)) if volumes is not None else None,
        "volumes": len(volumes) if volumes is not None else None,
        **(capacity(volumes) if volumes is not None else {"total": None, "used": None, "aggregates": []}),
    }


def capacity(volumes: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up what volumes have and use (bytes), and what they use by aggregate."""
    used_by: dict[str, float] = {}
    for volume in volumes:
        aggregate = str(volume.get("aggregate_name") or UNKNOWN)
        used_by[aggregate] = used_by.get(aggregate, 0) + (volume.get("size_used") or 0)
    return {
        "total": sum(volume.get("size_total") or 0 for volume in volumes),
        "used": sum(volume.get("size_used") or 0 for volume in volumes),
        "aggregates": charts.bars(used_by, 8),
    }


def _jobs() -> list[Mapping[str, Any]]:
    who = auth.principal()
    if not who.signed_in:
        return []
    everybody = {"all": "true"} if Role.UBER_ADMIN in who.roles else {}
    answer = call("GET", "/v4/jobs", query={"limit": 8, **everybody})
    return answer.body if answer.status == 200 and isinstance(answer.body, list) else []  # noqa: PLR2004
