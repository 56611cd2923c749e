"""Faults on demand, and for which requests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What happens to a request."""

    #: It is answered late.
    LATENCY = "latency"
    #: It is refused by ``status``, with ``code`` where that is set.
    REFUSE = "refuse"
    #: The connection is cut before, or after, it took effect.
    DROP = "drop"
    DROP_AFTER = "drop-after"
    #: Nothing comes any more, before or after it took effect.
    HANG = "hang"
    HANG_AFTER = "hang-after"
    #: It takes effect; the answer breaks off, or comes byte by byte.
    TRUNCATE = "truncate"
    TRICKLE = "trickle"
    #: Its job fails in the end with ``code``, or is forgotten as soon as it ends.
    JOB_FAILS = "job-fails"
    JOB_VANISHES = "job-vanishes"
    #: It takes effect, or not; a proxy's web page with ``status`` comes in the place of the answer.
    WEB_PAGE = "web-page"
    WEB_PAGE_BEFORE = "web-page-before"
    #: A page of a listing is ended before its first record; its link leads to the same page again.
    EMPTY_PAGE = "empty-page"
    #: The client is sent elsewhere.
    REDIRECT = "redirect"


@dataclass
class Fault:
    """One fault, for the next ``times`` requests that it fits."""

    kind: Kind
    method: str = ".*"
    path: str = ".*"
    times: int = 1
    #: How many matching requests are served without a fault before.
    after: int = 0
    seconds: float = 30.0
    status: int = 503
    code: int = 0
    message: str = "simulated fault on filer01.example.org (192.0.2.77)"
    headers: dict[str, str] = field(default_factory=dict)

    def fits(self, method: str, path: str) -> bool:
        """Is it for this request, and is any of it left?"""
        if self.times <= 0 or not (re.fullmatch(self.method, method) and re.fullmatch(self.path, path)):
            return False
        self.after -= 1
        return self.after < 0
