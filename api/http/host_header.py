"""The Host header as the client sent it, which must name one host (RFC 9112, section 3.2)."""

from __future__ import annotations

import re
from typing import Any

from flask import request

from api.http.problems import Problem

_KEY = "sapi.sent_host"
#: A name or an address, and a port. The server joins several headers with commas, which no host name has.
_ONE_HOST = re.compile(r"(?:\[[0-9A-Za-z:.%_-]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)(?::[0-9]*)?\Z")


def keep_sent_host(environ: dict[str, Any]) -> None:
    """Remember the header of a request before it is replaced by what a proxy or `SAPI_PUBLIC_URL` says."""
    environ[_KEY] = environ.get("HTTP_HOST", "")


def check_sent_host() -> None:
    """Refuse a request that names no host, several, or what is none; HTTP/1.0 needs none.

    Raises:
        Problem: `invalid-request`.
    """
    host = str(request.environ.get(_KEY, request.environ.get("HTTP_HOST", "")))
    if not host and request.environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        return
    if not _ONE_HOST.match(host):
        raise Problem("invalid-request", "The request must have one Host header, with the name of a host.")
