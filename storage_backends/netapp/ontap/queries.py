"""ONTAP's query language, from the safe side: values are data, and URLs are built here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

#: What means nothing but itself to ONTAP; anything else is quoted.
_PLAIN = re.compile(r"[A-Za-z0-9_/:@+-]+(?:\.[A-Za-z0-9_/:@+-]+)*")

Query = Mapping[str, str | int]

#: The filer answers at once with its job, so that the job's uuid is known before anything is waited for.
RETURN_IMMEDIATELY: Query = {"return_timeout": 0}


def quote_literal(value: str) -> str:
    """``value`` as ONTAP matches it to the letter: quoted where it holds an operator or is a word of the language."""
    if _PLAIN.fullmatch(value) and value.lower() != "null":
        return value
    if '"' not in value:
        return f'"{value}"'
    return "{" + value.replace("{", "{{").replace("}", "}}") + "}"


def url_of(path: str, query: Query | None = None) -> str:
    """The path below ``/api`` with its query; spaces as %20, which ONTAP wants, and nothing dropped."""
    if not query:
        return f"/api{path}"
    pairs = "&".join(f"{name}={quote(str(value), safe=',/:.*=!')}" for name, value in query.items())
    return f"/api{path}?{pairs}"


def next_page(href: str, path: str) -> str | None:
    """Where the filer says that a listing goes on, if that is in the same collection; a host in it is ignored."""
    parts = urlsplit(href)
    if f"/{parts.path.lstrip('/').removeprefix('api/')}" != path or not parts.query:
        return None
    return f"/api{path}?{parts.query}"
