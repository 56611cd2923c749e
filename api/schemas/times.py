"""Times in requests, in all forms of RFC 3339; a date alone is its begin in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import marshmallow as ma

_DATE = r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
_TIME = r"(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]{1,30}))?"
#: A "+" in a query that was not written as %2B arrives as a space.
_ZONE = r"(?:[Zz]|(?P<sign>[+\- ])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))"
_MOMENT = re.compile(rf"{_DATE}(?:[Tt ]{_TIME}{_ZONE})?\Z")
#: The beginning of Unix time.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(ma.fields.Field):
    """A time, deserialised to Unix microseconds."""

    default_error_messages = {  # noqa: RUF012 - marshmallow's way
        "invalid": "must be a date or a time (RFC 3339), such as 2026-01-31 or 2026-01-31T12:00:00Z",
        "null": "must not be null",
    }

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        time_us = unix_us(value) if isinstance(value, str) else None
        if time_us is None:
            raise self.make_error("invalid")
        return time_us


def unix_us(text: str) -> int | None:
    """Return a time in Unix microseconds; None when the text is malformed, or outside the years 1 to 9999."""
    parts = _MOMENT.match(text)
    if parts is None:
        return None
    time = parts["time"] or "00:00:00"
    # A leap second counts as the first second of the next minute.
    leap = time.endswith(":60")
    try:
        local = datetime.fromisoformat(f"{parts['date']}T{time[:-2] + '59' if leap else time}+00:00")
        moment = local + timedelta(seconds=int(leap)) - _offset(parts)
    except (ValueError, OverflowError):
        return None
    return (moment - EPOCH) // timedelta(microseconds=1) + int((parts["fraction"] or "")[:6].ljust(6, "0"))


def _offset(parts: re.Match[str]) -> timedelta:
    """Return the zone's offset from UTC.

    Raises:
        ValueError: it is malformed.
    """
    if parts["sign"] is None:
        return timedelta(0)
    hours, minutes = int(parts["hours"]), int(parts["minutes"])
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - as on a clock
        raise ValueError(parts["hours"])
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if parts["sign"] == "-" else offset
