"""One volume with its snapshots, locks, policy and jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from api import auth
from api.console import charts
from api.console.api_client import ApiResponse, call
from api.console.job_links import CHANGES
from api.console.jobs import may_see_others
from api.console.pages import page, problem_page, read_headers, render
from worker.catalog.operations import Role

#: The fields of a volume under the headings of its page; what is in none of them comes last.
_GROUPS = {
    "Capacity": (
        "size_total", "size_used", "autosize_enabled", "max_autosize", "percentage_snapshot_reserve",
        "percentage_snapshot_reserve_used", "space_guarantee", "compression_enabled", "inline_compression",
        "tiering_policy",
    ),
    "Access": ("junction_path", "active_policy_name", "security_style", "unix_permissions", "filer_address"),
    "Volume": (
        "state", "type", "aggregate_name", "comment", "snapshot_policy", "qos_policy", "caching_policy",
        "creation_time", "uuid",
    ),
}  # fmt: skip
#: How many of the volume's changes are shown.
_SHOWN_JOBS = 10


@page("/<subsystem>/volumes/<path:volume>", access=Role.USER)
def volume(subsystem: str, volume: str) -> Response:
    """One volume."""
    path = f"/v4/{subsystem}/volumes/{volume}"
    answer = call("GET", path, headers=read_headers())
    if answer.status == 202:  # noqa: PLR2004
        return render("reading.html", 202, subsystem=subsystem, what=volume, job=answer.body)
    if answer.status != 200:  # noqa: PLR2004
        return problem_page(answer)
    snapshots = call("GET", f"{path}/snapshots", headers=read_headers(3))
    locks = call("GET", f"{path}/locks", headers=read_headers(3))
    name = str(answer.body["name"])
    return render(
        "volume.html",
        subsystem=subsystem,
        volume=answer.body,
        groups=_grouped(answer.body),
        age_s=int(answer.headers.get("Age", 0)),
        snapshots=_rows(snapshots),
        marks=charts.time_line(_rows(snapshots) or []),
        locks=_rows(locks),
        problems={"snapshots": _problem(snapshots), "locks": _problem(locks)},
        jobs=_jobs_of(subsystem, name),
        events={"subsystem": subsystem, "volume": name},
    )


def _grouped(volume: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    groups = {head: {name: volume[name] for name in names if name in volume} for head, names in _GROUPS.items()}
    known = {"name", *(name for names in _GROUPS.values() for name in names)}
    groups["Volume"] |= {name: value for name, value in volume.items() if name not in known}
    return groups


def _rows(answer: ApiResponse) -> list[Mapping[str, Any]] | None:
    """The rows of a collection; None when they are not known yet."""
    return answer.body if answer.status == 200 and isinstance(answer.body, list) else None  # noqa: PLR2004


def _problem(answer: ApiResponse) -> Mapping[str, Any] | None:
    """Why a collection cannot be read; None when it is being read, or is only not cached."""
    is_refused = answer.status >= 400 and answer.body.get("code") != "not-cached"  # noqa: PLR2004
    return answer.body if is_refused else None


def _jobs_of(subsystem: str, name: str) -> list[Mapping[str, Any]]:
    """The latest changes of a volume that the user may see."""
    if not auth.principal().signed_in:
        return []
    everybody = {"all": "true"} if may_see_others() else {}
    query = {"subsystem": subsystem, "volume": name, "operation": CHANGES, "limit": _SHOWN_JOBS, **everybody}
    return _rows(call("GET", "/v4/jobs", query=query)) or []
