"""How values are written for people: sizes, times, durations. Pure functions, used as Jinja filters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

#: Stands for a value that is not known.
UNKNOWN = "\N{EN DASH}"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
#: Units of time: their seconds, and how many are one of the next.
_SPANS = (("ms", 0.001, 1000), ("s", 1, 60), ("min", 60, 60), ("h", 3600, 24))


def size(value: float | None) -> str:
    """Write bytes with a binary unit and three digits; an en dash when the value is not known."""
    if value is None:
        return UNKNOWN
    amount, unit = float(value), 0
    # As they are written: what is rounded up to 1024 is one of the next unit.
    while round(abs(amount)) >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - binary units
        amount, unit = amount / 1024, unit + 1
    digits = 0 if unit == 0 else next((few for few in (2, 1) if round(amount, few) < 10 ** (3 - few)), 0)
    return f"{amount:.{digits}f} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """Write a time span by its largest unit."""
    if seconds is None:
        return UNKNOWN
    if seconds <= 0:
        return "0 s"
    counts = ((round(seconds / of), most, name) for name, of, most in _SPANS)
    return next((f"{count} {name}" for count, most, name in counts if count < most), f"{seconds / 86400:.0f} d")


def moment(text: str | None) -> datetime | None:
    """Read an RFC 3339 time."""
    return datetime.fromisoformat(text) if text else None


def clock(text: str | None) -> str:
    """Write a moment as date and time of day in UTC, to the second."""
    at = moment(text)
    return UNKNOWN if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(text: str | None) -> str:
    """Write how long ago a time was."""
    at = moment(text)
    if at is None:
        return UNKNOWN
    passed_s = (datetime.now(UTC) - at).total_seconds()
    return f"{duration(passed_s)} ago" if passed_s >= 1 else "just now"


def between(begin: str | None, end: str | None) -> str:
    """Write the time from one moment to another (until now when there is no end)."""
    first = moment(begin)
    if first is None:
        return UNKNOWN
    return duration(((moment(end) or datetime.now(UTC)) - first).total_seconds())


def percent(part: float | None, whole: float | None) -> int | None:
    """How much of the whole a part is, from 0 to 100; None when that is not known."""
    if part is None or not whole:
        return None
    return max(0, min(100, round(100 * part / whole)))


def newest_first(snapshots: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Order snapshots by their creation; those whose time is not known come last."""
    return sorted(snapshots, key=lambda snapshot: str(snapshot.get("creation_time") or ""), reverse=True)


def json_text(value: Any) -> str:
    """Write a value as JSON for people: every character as itself (templates escape what HTML needs)."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def quantity(count: int, word: str) -> str:
    """Write a count with its word, in the plural where that is due."""
    return f"{count:,} {word}{'' if count == 1 else 's'}".replace(",", "\N{NARROW NO-BREAK SPACE}")
