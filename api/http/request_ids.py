"""The id of the current request: the client's own if it is valid, otherwise a new one; it is returned and logged."""

from __future__ import annotations

import re
import secrets

from flask import g, has_request_context, request

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")


def request_id() -> str:
    """Return the id of the current request; empty outside a request."""
    if not has_request_context():
        return ""
    if "request_id" not in g:
        g.request_id = given_or_new(request.headers.get(HEADER, ""))
    return str(g.request_id)


def given_or_new(sent: str) -> str:
    """Return the id that a client sent if it is valid, otherwise a new one."""
    return sent if _SANE.match(sent) else secrets.token_hex(16)
