"""Counts requests by route, and reads by the outcome of the cache; the counters are flushed to Redis periodically."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import cache
from typing import Self

from flask import Flask, Response, current_app, g, request

from api.http.shutdown import at_end
from api.services import Services
from worker.catalog.operations import Operation
from worker.store.metrics import REQUEST_BOUNDS_MS, CounterBuffer

EXTENSION = "storage-api-counters"

#: Probes are not counted.
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_VARIABLE = re.compile(r"<(?:[^<>:]*:)?([^<>]+)>")


def init_app(app: Flask, services: Services) -> None:
    """Register the hooks that count."""
    counters = CounterBuffer(services.redis, services.settings.key_prefix)
    app.extensions[EXTENSION] = counters
    app.after_request(_count)
    at_end(counters.flush)


def counter_buffer() -> CounterBuffer:
    """Return the buffered counters of this process."""
    services = current_app.extensions[EXTENSION]
    assert isinstance(services, CounterBuffer)  # noqa: S101 - put there by init_app
    return services


def _count(response: Response) -> Response:
    if request.path in _PROBES:
        return response
    counters = counter_buffer()
    counters.start_flushing()
    method = request.method if request.method in _METHODS else "other"
    route = _openapi_path(request.url_rule.rule) if request.url_rule else "other"
    counters.count(f"http {method} {route} {response.status_code // 100}xx")
    if "limit_reached" in g:
        counters.count(f"limit {g.limit_reached}")
    if "counted_as" in g:
        counters.count(f"{g.counted_as} {response.status_code}")
    # Requests that wait for a job are excluded: their duration says nothing about the service's speed.
    if "Prefer" not in request.headers and "held_open" not in g and "began" in g:
        counters.observe(f"time {method} {route}", time.perf_counter() - g.began, REQUEST_BOUNDS_MS)
    outcome = cache_outcome(response.headers.get("Cache-Status", ""))
    operation = _operation() if outcome else None
    if operation is not None and operation.reads is not None:
        counters.count(f"cache {operation.reads.name} {outcome}")
    return response


@dataclass(frozen=True, slots=True)
class CachedHitCounters:
    """The counters of a request that is answered from the cache."""

    counters: CounterBuffer
    status: str
    time: str
    cache: str
    #: Further counters by status; empty: none.
    counted_as: str = ""

    @classmethod
    def of_request(cls) -> Self:
        """Return the counters of the current request."""
        operation = _operation()
        route = _openapi_path(request.url_rule.rule) if request.url_rule else "other"
        resource = operation.reads.name if operation and operation.reads else "other"
        counted = f"{request.method} {route}"
        return cls(
            counter_buffer(), f"http {counted}", f"time {counted}", f"cache {resource} hit", g.get("counted_as", "")
        )

    def add(self, status: int, elapsed_s: float) -> None:
        """Count one request."""
        self.counters.start_flushing()
        counted_as = (f"{self.counted_as} {status}",) if self.counted_as else ()
        self.counters.count(f"{self.status} {status // 100}xx", self.cache, *counted_as)
        self.counters.observe(self.time, elapsed_s, REQUEST_BOUNDS_MS)


@cache
def _openapi_path(rule: str) -> str:
    """Return a route as the OpenAPI document writes it."""
    return _VARIABLE.sub(r"{\1}", rule)


def cache_outcome(status: str) -> str:
    """Return the outcome in the header Cache-Status (RFC 9211) as one word.

    hit; stale (refreshed meanwhile); collapsed (joined a read in flight); bypass (required by the client); miss;
    empty for other responses.
    """
    if "; hit" in status:
        return "stale" if "ttl=-" in status else "hit"
    if "; collapsed" in status:
        return "collapsed"
    if "fwd=request" in status:
        return "bypass"
    return "miss" if "fwd=" in status else ""


def _operation() -> Operation | None:
    resource_type = current_app.view_functions.get(request.endpoint or "")
    method = getattr(getattr(resource_type, "view_class", None), request.method.lower().replace("head", "get"), None)
    operations: tuple[Operation, ...] = getattr(method, "operations", ())
    return operations[0] if operations else None
