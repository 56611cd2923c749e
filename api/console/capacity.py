"""The capacity of a storage system by its cached listing: in all, by aggregate, and its largest and fullest volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app

from api.console import charts
from api.console.api_client import call
from api.console.formatting import percent
from api.console.pages import page, problem_page, render
from worker.catalog.operations import Role

#: A volume that uses as much of its size (per cent) is nearly full.
NEARLY_FULL_PERCENT = 90
_MOST_ROWS = 15
_FIELDS = "name,size_total,size_used,aggregate_name"
#: Of listings that are read for a look only: no job is made for it, and an old copy is good enough.
_CACHED = {"Cache-Control": "only-if-cached, max-stale"}
_EXTENSION = "storage-api-console-capacity"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What the volumes of one aggregate (its name is empty where it is not known) have and use, in bytes."""

    name: str
    volumes: int
    total: int
    used: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the volumes of one storage system have and use, in bytes."""

    volumes: int
    total: int
    used: int
    nearly_full: int
    aggregates: tuple[Aggregate, ...]
    largest: tuple[charts.Bar, ...]
    fullest: tuple[charts.Bar, ...]

    @classmethod
    def of(cls, volumes: Sequence[Mapping[str, Any]]) -> Capacity:
        """Add up a listing."""
        shares = {str(row["name"]): percent(row.get("size_used"), row.get("size_total")) or 0 for row in volumes}
        used = {str(row["name"]): row.get("size_used") or 0 for row in volumes}
        return cls(
            volumes=len(volumes),
            total=sum(row.get("size_total") or 0 for row in volumes),
            used=sum(used.values()),
            nearly_full=sum(share >= NEARLY_FULL_PERCENT for share in shares.values()),
            aggregates=_aggregates(volumes),
            largest=tuple(charts.bars(used, _MOST_ROWS)),
            fullest=tuple(charts.bars(shares, _MOST_ROWS, top=100)),
        )


def _aggregates(volumes: Sequence[Mapping[str, Any]]) -> tuple[Aggregate, ...]:
    sums: dict[str, list[int]] = {}
    for row in volumes:
        entry = sums.setdefault(str(row.get("aggregate_name") or ""), [0, 0, 0])
        entry[0] += 1
        entry[1] += row.get("size_total") or 0
        entry[2] += row.get("size_used") or 0
    return tuple(Aggregate(name, *entry) for name, entry in sorted(sums.items(), key=lambda item: -item[1][2]))


@dataclass(frozen=True, slots=True)
class CachedCapacity:
    """The capacity by the listing that is cached, and that listing's age in seconds."""

    capacity: Capacity
    age_s: int


def cached_capacity(subsystem: str) -> CachedCapacity | None:
    """Return the capacity by the cached listing; None while none is cached.

    A listing of 50,000 volumes is added up once, and again only when it has changed.
    """
    known: dict[str, tuple[str, Capacity]] = current_app.extensions.setdefault(_EXTENSION, {})
    tag, capacity = known.get(subsystem, ("", None))
    headers = _CACHED | ({"If-None-Match": tag} if tag else {})
    answer = call("GET", f"/v4/{subsystem}/volumes", query={"fields": _FIELDS}, headers=headers)
    if answer.status == 200:  # noqa: PLR2004
        capacity = Capacity.of(answer.body)
        known[subsystem] = (answer.headers.get("ETag", ""), capacity)
    elif answer.status != 304 or capacity is None:  # noqa: PLR2004
        return None
    return CachedCapacity(capacity, int(answer.headers.get("Age", 0)))


@page("/<subsystem>/capacity", access=Role.USER)
def capacity(subsystem: str) -> Response:
    """The plots of a storage system."""
    cached = cached_capacity(subsystem)
    if cached is None:
        answer = call("GET", f"/v4/{subsystem}/volumes", query={"limit": 1}, headers={"Prefer": "wait=5"})
        if answer.status == 202:  # noqa: PLR2004
            return render("reading.html", 202, subsystem=subsystem, what="volumes", job=answer.body)
        if answer.status != 200:  # noqa: PLR2004
            return problem_page(answer)
        cached = cached_capacity(subsystem)
    return render("capacity.html", subsystem=subsystem, cached=cached, nearly_full_percent=NEARLY_FULL_PERCENT)
