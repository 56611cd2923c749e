"""Preferences of a request: Prefer (RFC 7240) and Cache-Control (RFC 9111)."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Request
from werkzeug.http import parse_dict_header, parse_list_header


@dataclass(frozen=True, slots=True)
class Preferences:
    """How long to wait for a job; None where the request has no preference."""

    wait_s: float | None = None
    respond_async: bool = False

    def applied(self) -> str:
        """The value of Preference-Applied of a response that has waited: it is not asynchronous."""
        return "" if self.wait_s is None else f"wait={self.wait_s:g}"

    def headers(self, *, done: bool) -> dict[str, str]:
        """Preference-Applied of a response with the result (``done``), or with the job."""
        if done and self.wait_s is not None:
            return {"Preference-Applied": self.applied()}
        return {"Preference-Applied": "respond-async"} if self.respond_async and not done else {}


def preferences(request: Request, max_wait_s: float) -> Preferences:
    """Read ``Prefer``; malformed preferences are ignored, as the RFC requires."""
    by_name = _first_of_each(", ".join(request.headers.getlist("Prefer")))
    wait = whole_number(by_name.get("wait", ""))
    wait_s = None if wait is None else min(float(wait), max_wait_s)
    return Preferences(wait_s, "respond-async" in by_name)


@dataclass(frozen=True, slots=True)
class RequestCacheControl:
    """Which cached copies a request accepts; times in seconds."""

    no_cache: bool = False
    only_if_cached: bool = False
    max_age_s: int | None = None
    max_stale_s: int | None = None
    min_fresh_s: int = 0

    def accepts(self, age_s: float, fresh_s: int, stale_s: int, keep_s: int) -> bool:
        """May a copy of this age be served? One that is stale by the service's settings is refreshed meanwhile."""
        if self.no_cache or age_s > keep_s:
            return False
        life_s = fresh_s if self.max_age_s is None else min(fresh_s, self.max_age_s)
        if age_s <= life_s - self.min_fresh_s:
            return True
        if self.min_fresh_s:
            return False
        if self.max_stale_s is not None:
            return age_s - life_s <= self.max_stale_s
        return age_s <= fresh_s + stale_s and (self.max_age_s is None or age_s <= self.max_age_s)


_ANY = 2**31
_MOST_DIGITS = 18


def freshness(request: Request) -> RequestCacheControl:
    """Read ``Cache-Control`` (and ``Pragma: no-cache``); a directive with a malformed number counts as 0."""
    header = parse_dict_header(", ".join(request.headers.getlist("Cache-Control")))
    directives = {name.lower(): value for name, value in header.items()}
    pragma = "cache-control" not in request.headers and "no-cache" in request.headers.get("Pragma", "").lower()
    max_stale = None
    if "max-stale" in directives:
        max_stale = _ANY if directives["max-stale"] is None else _seconds(directives["max-stale"])
    return RequestCacheControl(
        "no-cache" in directives or pragma,
        "only-if-cached" in directives,
        _seconds(directives["max-age"]) if "max-age" in directives else None,
        max_stale,
        _seconds(directives["min-fresh"]) if "min-fresh" in directives else 0,
    )


def _seconds(value: str | None) -> int:
    return min(whole_number(value or "") or 0, _ANY)


def _first_of_each(header: str) -> dict[str, str]:
    """Return preferences by name; of a repeated one the first counts (RFC 7240, section 2)."""
    values: dict[str, str] = {}
    for part in parse_list_header(header.replace(";", ",")):
        name, _, value = part.partition("=")
        values.setdefault(name.strip().lower(), value.strip().strip('"'))
    return values


def whole_number(text: str) -> int | None:
    """Return digits as a number, at most 10^18; None when the text is not a number."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    return 10**_MOST_DIGITS if len(digits) > _MOST_DIGITS else int(digits or "0")


def takes_gzip(request: Request) -> bool:
    """Does the client accept gzip, and not prefer the plain form (RFC 9110, section 12.5.3)?"""
    accepted = request.accept_encodings
    codings = {coding.lower() for coding, _ in accepted}
    # Its other name; an asterisk stands for what is not named.
    gzip = accepted["gzip" if "gzip" in codings else "x-gzip"]
    plain = accepted["identity"] if codings & {"identity", "*"} else 0
    return gzip > 0 and gzip >= plain
