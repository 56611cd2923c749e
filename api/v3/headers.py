"""Headers of every response below /v3: since when the API is deprecated, and its successor."""

from __future__ import annotations

from urllib.parse import quote

from flask import Response, request

from api.v3.dates import http_date, unix_s
from api.v3.settings import V3Settings

PREFIX, SUCCESSOR = "/v3", "/v4"
#: Longer paths get no link.
_LONGEST_PATH = 2048


def is_below(path: str) -> bool:
    """Is this a path of the v3 API?"""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def successor_path(path: str = "") -> str:
    """Return the path below /v4 for a path below /v3 (empty: that of the current request)."""
    return SUCCESSOR + (path or request.path).removeprefix(PREFIX)


def add(response: Response, settings: V3Settings) -> None:
    """Add the headers of RFC 9745 and RFC 8594, and links to the successor."""
    response.headers["Deprecation"] = f"@{unix_s(settings.v3_deprecated)}"
    if settings.v3_sunset is not None:
        response.headers["Sunset"] = http_date(settings.v3_sunset)
    path = successor_path()
    if len(path) <= _LONGEST_PATH:
        quoted = quote(path, safe="/:@!$&'()*+,=~")
        response.headers.add("Link", f'<{quoted}>; rel="successor-version"')
    if settings.v3_manual_url:
        response.headers.add("Link", f'<{settings.v3_manual_url}>; rel="deprecation"; type="text/html"')
