"""WSGI middleware that answers repeated reads from memory, after checking in Redis that nothing relevant has changed.

The application has answered the same request of the same client once. As long as the replies of Redis about the listing
(and the client's session) are the same, the same bytes are sent: without routing, views and hooks, but with the request
line, the audit event and the counters that every request has.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import redis
from flask import request

from api.auth import audit, principal
from api.auth.access import sign_in_dependency, sign_in_valid_s
from api.http.buffering import Application, Environ, StartResponse
from api.http.request_ids import given_or_new
from api.http.request_log import log_request
from api.monitoring.request_metrics import CachedHitCounters
from api.services import Services
from worker.config.audit_log import AuditLog
from worker.config.json_encoding import as_json
from worker.listings.repository import ListingState
from worker.store.pipelined_reads import PackedCommands, PipelinedReads

_CACHEABLE = "sapi.cacheable"
_REDIS_ERROR = "sapi.redis_error"
_MAX_RESPONSES = 512
#: Responses may take this fraction (1/n) of the memory for listings, beside it.
_SHARE = 4
#: Requests with one of these headers are not cached: their responses depend on the time, or they have a body.
_UNCACHEABLE = frozenset({"HTTP_CACHE_CONTROL", "HTTP_PRAGMA", "HTTP_PREFER", "HTTP_TRANSFER_ENCODING"})
#: Granian puts the process's environment variables into each request's environment.
_OF_PROCESS = frozenset(name for name in os.environ if not name.startswith("HTTP_")) | {"HTTP_X_REQUEST_ID"}
#: Larger bodies are answered with one at a time: the server copies each while no other thread can run, and beside
#: many such threads others would hardly ever run.
_LARGE_BYTES = 1 << 20
#: Headers that differ for each response.
_OWN_HEADERS = frozenset({"age", "cache-status", "x-request-id"})


@dataclass(slots=True)
class CachedResponse:
    """A response, and what it depends on."""

    commands: tuple[tuple[str, ...], ...]
    #: Redis's replies to them, without the time.
    replies: tuple[Any, ...]
    as_of_ms: int
    #: The age up to which it may be served (seconds).
    fresh_s: int
    method: str
    path: str
    requested_by: str
    address: str | None
    decision: Mapping[str, Any]
    counters: CachedHitCounters
    audit_log: AuditLog
    #: Until when it may be served (monotonic seconds).
    until_s: float
    packed: PackedCommands | None = None
    status: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


def mark_cacheable(services: Services, state: ListingState, parent_key: str, body: bytes, fresh_s: int) -> None:
    """Mark the response to the current request as depending only on the version of this listing (and the session).

    ``fresh_s``: how old it may be, in seconds.
    """
    who = principal()
    dependency = sign_in_dependency()
    anonymous = who.method == "anonymous" and "HTTP_COOKIE" not in request.environ
    if not (anonymous or dependency):
        return
    commands = services.listings.version_commands(state.cache_key, parent_key)
    replies = state.version_replies
    if dependency:
        commands += (dependency[0],)
        replies += (dependency[1],)
    request.environ[_CACHEABLE] = CachedResponse(
        commands,
        replies,
        state.as_of_ms,
        fresh_s,
        request.method,
        request.path,
        who.name,
        request.remote_addr,
        audit.pending(),
        CachedHitCounters.of_request(),
        audit.current_log(),
        time.monotonic() + min(fresh_s, sign_in_valid_s()),
        body=body,
    )


def raise_cached_redis_error() -> None:
    """Raise the error of the middleware's read of Redis: another attempt would take as long again."""
    error = request.environ.get(_REDIS_ERROR)
    if error is not None:
        raise error


class ResponseCacheMiddleware:
    """The middleware."""

    def __init__(self, application: Application, services: Services) -> None:
        self._application = application
        self._reads = PipelinedReads(services.redis)
        self._max_bytes = services.config.listing_cache_bytes // _SHARE
        self._responses: OrderedDict[bytes, CachedResponse] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._large = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET" or environ.get("CONTENT_LENGTH") or environ.keys() & _UNCACHEABLE:
            return self._application(environ, start_response)
        digest = self._digest(environ)
        cached = self._responses.get(digest)
        if cached is None or time.monotonic() > cached.until_s:
            return self._remembering(digest, environ, start_response)
        began = time.perf_counter()
        try:
            age_s = self._age_s(cached)
        except redis.RedisError as error:
            environ[_REDIS_ERROR] = error
            return self._application(environ, start_response)
        if age_s is None:
            return self._remembering(digest, environ, start_response)
        request_id = given_or_new(environ.get("HTTP_X_REQUEST_ID", ""))
        with self._large if len(cached.body) > _LARGE_BYTES else nullcontext():
            return self._respond(cached, age_s, request_id, began, start_response)

    def _respond(
        self, cached: CachedResponse, age_s: int, request_id: str, began: float, start_response: StartResponse
    ) -> Iterable[bytes]:
        own_headers = [
            ("Age", str(age_s)),
            ("Cache-Status", f"storage-api; hit; ttl={cached.fresh_s - age_s}"),
            ("X-Request-ID", request_id),
        ]
        start_response(cached.status, [*cached.headers, *own_headers])
        elapsed_s, status = time.perf_counter() - began, int(cached.status[:3])
        log_request(
            method=cached.method, path=cached.path, status=status, elapsed_s=elapsed_s,
            requested_by=cached.requested_by, request_id=request_id,
        )  # fmt: skip
        event = audit.request_event("access", cached.method, cached.path, cached.address, request_id)
        cached.audit_log.write(event | {**cached.decision, "status": status})
        cached.counters.add(status, elapsed_s)
        return [cached.body]

    def _age_s(self, cached: CachedResponse) -> int | None:
        """How old the response is (seconds), if it is unchanged and fresh."""
        if cached.packed is None:
            cached.packed = self._reads.pack(cached.commands)
        (seconds, micros), *replies = self._reads.read(cached.packed)
        age_ms = int(seconds) * 1000 + int(micros) // 1000 - cached.as_of_ms
        # Below 0 where the clock was set back since.
        is_fresh = 0 <= age_ms <= cached.fresh_s * 1000
        return age_ms // 1000 if tuple(replies) == cached.replies and is_fresh else None

    def _remembering(self, digest: bytes, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            cached = environ.get(_CACHEABLE)
            if cached is not None and status[:3] in ("200", "304") and not any(n == "Set-Cookie" for n, _ in headers):
                cached.status = status
                cached.headers = [header for header in headers if header[0].lower() not in _OWN_HEADERS]
                self._keep(digest, cached)
            return start_response(status, headers, *more)

        return self._application(environ, start)

    def _keep(self, digest: bytes, cached: CachedResponse) -> None:
        with self._lock:
            self._responses.pop(digest, None)
            self._responses[digest] = cached
            bodies = {id(response.body): len(response.body) for response in self._responses.values()}
            while len(self._responses) > _MAX_RESPONSES or sum(bodies.values()) > self._max_bytes:
                _, oldest = self._responses.popitem(last=False)
                bodies.pop(id(oldest.body), None)

    def _digest(self, environ: Environ) -> bytes:
        """Identify the request and its sender; keyed, so that no password or cookie stays in memory."""
        names = [name for name in environ if name not in _OF_PROCESS and name.startswith("HTTP_")]
        varying = (
            environ.get("PATH_INFO"), environ.get("QUERY_STRING"), environ.get("RAW_URI"),
            environ.get("REMOTE_ADDR"), environ.get("wsgi.url_scheme"), names, [environ[name] for name in names],
        )  # fmt: skip
        return hashlib.blake2b(as_json(varying), key=self._secret).digest()
