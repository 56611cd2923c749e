"""The geometry of the console's plots: what templates draw as SVG. Coordinates are in the plot's own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.console.formatting import duration, moment

DAY_S = 86400
#: The narrowest column of a plot, in its own units: one that can still be seen.
_NARROWEST = 0.5


@dataclass(frozen=True, slots=True)
class Bar:
    """One horizontal bar: ``width`` of 100, its label, and what it stands for."""

    label: str
    width: float
    value: float


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark on a time line; ``x`` of 100."""

    x: float
    label: str
    at: str


@dataclass(frozen=True, slots=True)
class Column:
    """One interval of the plots of jobs: outcomes and mean run time as heights of 100, and in figures."""

    x: float
    width: float
    good: float
    bad: float
    run: float
    succeeded: int
    failed: int
    cancelled: int
    mean_s: float | None
    until: str

    @property
    def label(self) -> str:
        """The interval in words."""
        mean = f", {duration(self.mean_s)} each" if self.mean_s is not None else ""
        return f"until {self.until} UTC: {self.succeeded} succeeded, {self.failed} failed{mean}"


@dataclass(frozen=True, slots=True)
class DayPlot:
    """The plots of the jobs of the last day, with what stands at their axes."""

    columns: tuple[Column, ...] = ()
    most_jobs: int = 0
    longest_s: float = 0
    hours: tuple[str, ...] = ()
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


def bars(values: Mapping[str, float], limit: int = 12, top: float = 0) -> list[Bar]:
    """Return the largest values as bars; one of ``top`` (default: the largest) is as wide as the plot."""
    largest = sorted(values.items(), key=lambda item: (-item[1], item[0]))[:limit]
    widest = top or max((value for _, value in largest), default=0) or 1
    return [Bar(label, round(100 * value / widest, 2), value) for label, value in largest]


def day_plot(history: Sequence[Mapping[str, float]], now_s: float) -> DayPlot:
    """Return the plots of the day that ends ``now_s`` (Unix seconds); see `service_status.history`."""
    points = [point for point in history if point["at"] > now_s - DAY_S]
    if not points:
        return DayPlot()
    most = max(point["succeeded"] + point["failed"] for point in points)
    longest_s = max((_mean_s(point) or 0.0) for point in points)
    return DayPlot(
        columns=tuple(_column(point, now_s, most or 1, longest_s or 1) for point in points),
        most_jobs=round(most),
        longest_s=longest_s,
        hours=tuple(_hour(now_s - DAY_S + part * DAY_S / 4) for part in range(5)),
        succeeded=round(sum(point["succeeded"] for point in points)),
        failed=round(sum(point["failed"] for point in points)),
        cancelled=round(sum(point["cancelled"] for point in points)),
    )


def _column(bucket: Mapping[str, float], now_s: float, most: float, longest_s: float) -> Column:
    begin = max(bucket["from"], now_s - DAY_S)
    mean_s = _mean_s(bucket)
    return Column(
        x=round(100 * (begin - now_s + DAY_S) / DAY_S, 2),
        width=round(max(90 * (bucket["at"] - begin) / DAY_S, _NARROWEST), 2),
        good=round(100 * bucket["succeeded"] / most, 2),
        bad=round(100 * bucket["failed"] / most, 2),
        run=round(100 * (mean_s or 0) / longest_s, 2),
        succeeded=round(bucket["succeeded"]),
        failed=round(bucket["failed"]),
        cancelled=round(bucket["cancelled"]),
        mean_s=mean_s,
        until=_hour(bucket["at"]),
    )


def _mean_s(bucket: Mapping[str, float]) -> float | None:
    ended = bucket["succeeded"] + bucket["failed"] + bucket["cancelled"]
    return bucket["run_s"] / ended if ended else None


def _hour(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M")


def time_line(snapshots: Sequence[Mapping[str, Any]]) -> list[Mark]:
    """Return snapshots as marks between the oldest one and now."""
    dated = [(moment(snapshot["creation_time"]), snapshot) for snapshot in snapshots if snapshot.get("creation_time")]
    if not dated:
        return []
    now = datetime.now(UTC)
    first = min(at for at, _ in dated if at is not None)
    span_s = max((now - first).total_seconds(), 1.0)
    return [
        Mark(
            round(2 + 96 * (at - first).total_seconds() / span_s, 2),
            str(snapshot["name"]),
            str(snapshot["creation_time"]),
        )
        for at, snapshot in dated
        if at is not None
    ]
