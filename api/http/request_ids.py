"""The id of the current request: the client's own if it is valid, otherwise a new one; it is returned and logged."""

from __future__ import annotations

import os
import re
from random import Random

from flask import g, has_request_context, request

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
#: Ids tell requests apart and open nothing, so they need no random bytes from the system for each.
_numbers = Random()  # noqa: S311
os.register_at_fork(after_in_child=_numbers.seed)


def request_id() -> str:
    """Return the id of the current request; empty outside a request."""
    if not has_request_context():
        return ""
    if "request_id" not in g:
        g.request_id = given_or_new(request.headers.get(HEADER, ""))
    return str(g.request_id)


def given_or_new(sent: str) -> str:
    """Return the id that a client sent if it is valid, otherwise a new one."""
    return sent if _SANE.match(sent) else f"{_numbers.getrandbits(128):032x}"
