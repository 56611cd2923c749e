"""Times in the predecessor's format: RFC 822, in UTC, with the zone as ``-0000``."""

from __future__ import annotations

from datetime import UTC, date, datetime
from email.utils import formatdate
from functools import lru_cache


@lru_cache(4096)
def rfc822(text: str) -> str | None:
    """Return an RFC 3339 time to the second, as in ``Thu, 26 Nov 2026 13:12:40 -0000``; None for a malformed one."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return formatdate((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def unix_s(day: date) -> int:
    """Return the begin of a day, in UTC, in Unix seconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def http_date(day: date) -> str:
    """Return the begin of a day as an HTTP date."""
    return formatdate(unix_s(day), usegmt=True)
