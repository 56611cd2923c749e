"""The geometry of the console's plots: what templates draw as SVG. Coordinates are in the plot's own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.console.formatting import moment


@dataclass(frozen=True, slots=True)
class Bar:
    """One horizontal bar: ``width`` of 100, its label, and what it stands for in words."""

    label: str
    width: float
    value: float
    href: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark on a time line; ``x`` of 100."""

    x: float
    label: str
    at: str


def bars(values: Mapping[str, float], limit: int = 12) -> list[Bar]:
    """Return the largest values as bars, the largest as wide as the plot."""
    largest = sorted(values.items(), key=lambda item: -item[1])[:limit]
    top = max((value for _, value in largest), default=0) or 1
    return [Bar(label, round(100 * value / top, 2), value) for label, value in largest]


@dataclass(frozen=True, slots=True)
class Column:
    """One interval of the plot of jobs: how many succeeded and failed, as heights of 100, and in words."""

    x: float
    width: float
    good: float
    bad: float
    label: str


def columns(history: Sequence[Mapping[str, float]]) -> list[Column]:
    """Return the intervals of a day as columns of a plot, the tallest as high as the plot."""
    most = max((each["succeeded"] + each["failed"] for each in history), default=0) or 1
    width = 100 / max(len(history), 24)
    return [
        Column(
            round(index * width, 2),
            round(width * 0.8, 2),
            round(100 * each["succeeded"] / most, 2),
            round(100 * each["failed"] / most, 2),
            _interval(each),
        )
        for index, each in enumerate(history)
    ]


def _interval(each: Mapping[str, float]) -> str:
    until = datetime.fromtimestamp(each["at"], UTC).strftime("%H:%M UTC")
    ended = each["succeeded"] + each["failed"] + each["cancelled"]
    mean = f", {each['run_s'] / ended:.1f} s each" if ended else ""
    return f"until {until}: {each['succeeded']:.0f} succeeded, {each['failed']:.0f} failed{mean}"


def time_line(snapshots: Sequence[Mapping[str, Any]]) -> list[Mark]:
    """Return snapshots as marks between the oldest one and now."""
    dated = [(moment(each["creation_time"]), each) for each in snapshots if each.get("creation_time")]
    if not dated:
        return []
    now = datetime.now(UTC)
    first = min(at for at, _ in dated if at is not None)
    span_s = max((now - first).total_seconds(), 1.0)
    return [
        Mark(round(2 + 96 * (at - first).total_seconds() / span_s, 2), str(each["name"]), str(each["creation_time"]))
        for at, each in dated
        if at is not None
    ]
