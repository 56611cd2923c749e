"""Ways in which another filer, or another release, may answer the same: nothing in them is promised or forbidden."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.ontap_simulator.exchange import Reply, Request
from tests.ontap_simulator.world import World

Json = dict[str, Any]

#: Fields that the oldest release does not know.
NEWER = frozenset({"nodes.name", "are_rules_truncated"})
_NEWER_OBJECTS = frozenset(name.partition(".")[0] for name in NEWER)


@dataclass(frozen=True)
class Dialect:
    """How one filer answers."""

    #: One response per connection: announced (HTTP/1.0), or not (closed without notice).
    is_http_1_0: bool = False
    closes_silently: bool = False
    #: How the bytes of an answer come.
    is_chunked: bool = False
    is_gzipped: bool = False
    #: Only what a client cannot do without: no links but the next page's (that with a host), no counts, no Location.
    is_terse: bool = False
    #: Refusals that are no common ones come with this status.
    refusal_status: int = 400
    #: The most records of a page, whatever was requested; an empty page at the end.
    page: int = 0
    #: Changes are carried out before they are answered: "" (no), "unnamed", or "named" (the answer names the job).
    synchronous: str = ""
    #: A job is queued, then paused, before it runs.
    is_slow_to_start: bool = False
    #: Fields that this release does not know.
    unknown_fields: frozenset[str] = frozenset()
    #: It passes over fields that are newer than the oldest release in silence.
    ignores_unknown: bool = False
    #: Times with a blank between date and time, as NetApp's own examples have them.
    has_blank_times: bool = False

    def prepare(self, world: World) -> None:
        """What of it is the simulated cluster's business."""
        world.synchronous = self.synchronous
        world.is_slow_to_start = self.is_slow_to_start
        world.empty_last_page = bool(self.page)
        world.unknown_fields = self.unknown_fields
        if self.is_slow_to_start:
            world.job_seconds = 0.015

    def heard(self, request: Request) -> None:
        """Change a request before it is carried out."""
        if self.page and "max_records" in request.query:
            request.query["max_records"] = str(min(self.page, int(request.query["max_records"])))

    def spoken(self, reply: Reply, host: str) -> Reply:
        """Change a reply before it is sent."""
        error = reply.body.get("error")
        if reply.status == 400 and isinstance(error, dict):
            reply.status = self.refusal_status
        if self.ignores_unknown:
            reply.body = _without(reply.body, _NEWER_OBJECTS.__contains__)
        if self.has_blank_times:
            _blank_times(reply.body)
        if self.is_terse:
            reply = self._terse(reply, host)
        return reply

    def _terse(self, reply: Reply, host: str) -> Reply:
        link = ((reply.body.get("_links") or {}).get("next") or {}).get("href")
        body = _without(reply.body, lambda name: name in {"_links", "num_records"})
        if "description" in body and body.get("state") == "failure":  # A job, with its code alone.
            del body["error"], body["message"]
        if link:
            body["_links"] = {"next": {"href": f"http://{host}{link}"}}
        return Reply(reply.status, body, {k: v for k, v in reply.headers.items() if k != "Location"})

    def packed(self, content: bytes) -> tuple[bytes, dict[str, str]]:
        """The bytes of an answer, and the headers that tell how they come."""
        headers: dict[str, str] = {}
        if self.is_gzipped:
            content, headers = gzip.compress(content, 1), {"Content-Encoding": "gzip"}
        if self.is_chunked:
            half = len(content) // 2 or len(content)
            parts = [part for part in (content[:half], content[half:]) if part]
            content = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
            return content, headers | {"Transfer-Encoding": "chunked"}
        return content, headers | {"Content-Length": str(len(content))}


def _without(value: Any, is_unwanted: Callable[[str], bool]) -> Any:
    if isinstance(value, list):
        return [_without(item, is_unwanted) for item in value]
    if isinstance(value, dict):
        return {name: _without(inner, is_unwanted) for name, inner in value.items() if not is_unwanted(name)}
    return value


def _blank_times(value: Any) -> None:
    for item in value if isinstance(value, list) else [value]:
        for name, inner in item.items() if isinstance(item, dict) else ():
            if name.endswith("_time") and isinstance(inner, str):
                item[name] = inner.replace("T", " ")
            else:
                _blank_times(inner)


DIALECTS: dict[str, Dialect] = {
    "terse": Dialect(is_terse=True, is_chunked=True, page=2, refusal_status=409),
    "at once": Dialect(synchronous="unnamed", is_http_1_0=True, refusal_status=409),
    "at once with a job": Dialect(synchronous="named", is_gzipped=True, has_blank_times=True, refusal_status=404),
    "old": Dialect(is_slow_to_start=True, unknown_fields=NEWER, closes_silently=True),
    "lenient": Dialect(
        unknown_fields=NEWER, ignores_unknown=True, is_chunked=True, is_gzipped=True, refusal_status=422
    ),
}
