"""Safe use of ONTAP's query language: values are quoted, and URLs are built only here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

#: Characters without a special meaning in ONTAP's queries; anything else is quoted.
_PLAIN = re.compile(r"[A-Za-z0-9_/:@+-]+(?:\.[A-Za-z0-9_/:@+-]+)*")

Query = Mapping[str, str | int]

#: The filer responds at once with its job, so that the job's uuid is known before the wait.
RETURN_IMMEDIATELY: Query = {"return_timeout": 0}


def quote_literal(value: str) -> str:
    """Return ``value`` for a literal match: quoted if it contains operators or is a keyword."""
    if _PLAIN.fullmatch(value) and value.lower() != "null":
        return value
    if '"' not in value:
        return f'"{value}"'
    return "{" + value.replace("{", "{{").replace("}", "}}") + "}"


def url_of(path: str, query: Query | None = None) -> str:
    """Return the path below ``/api`` with its query; spaces as %20, as ONTAP requires, and empty values kept."""
    if not query:
        return f"/api{path}"
    pairs = "&".join(f"{name}={quote(str(value), safe=',/:.*=!')}" for name, value in query.items())
    return f"/api{path}?{pairs}"


def next_page(href: str, path: str) -> str | None:
    """Return the filer's link to the next page, if it is in the same collection; its host is ignored."""
    parts = urlsplit(href)
    if f"/{parts.path.lstrip('/').removeprefix('api/')}" != path or not parts.query:
        return None
    return f"/api{path}?{parts.query}"
