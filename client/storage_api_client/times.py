"""Times: RFC 3339 as the API writes it, and what people type ("2h", "2026-01-02")."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_AGO = re.compile(r"([0-9]{1,6})\s*([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FRACTION = re.compile(r"\.([0-9]+)")


def parse_time(text: str | None) -> datetime | None:
    """Return a time of the API as an aware datetime; None for None and for what is no RFC 3339."""
    if not text:
        return None
    # Python 3.10 reads neither "Z" nor fractions of other lengths than 3 and 6.
    plain = _FRACTION.sub(lambda match: f".{match[1][:6]:0<6}", text.upper().replace("Z", "+00:00"))
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def format_time(moment: datetime) -> str:
    """Return a datetime in RFC 3339, UTC; one without a time zone is taken as local."""
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def parse_since(text: str) -> str:
    """Return a time in RFC 3339 from "90s", "30m", "2h", "3d", "1w" (so long ago) or from a date or time.

    Raises:
        ValueError: it is neither.
    """
    if match := _AGO.fullmatch(text.strip()):
        ago = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
        return format_time(datetime.now(timezone.utc) - ago)
    moment = parse_time(text.strip())
    if moment is None:
        raise ValueError(f"{text!r} is no time: write how long ago (2h, 3d) or a date (2026-01-02T03:04:05Z)")
    return format_time(moment)
