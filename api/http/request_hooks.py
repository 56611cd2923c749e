"""Flask request hooks: size limits, the request id, security headers, the request line in the log."""

from __future__ import annotations

import re
import time
from urllib.parse import quote

import structlog
from flask import Flask, Response, g, request

from api.http.host_header import check_sent_host
from api.http.problems import Problem
from api.http.request_ids import HEADER, request_id
from api.http.request_log import log_request
from api.limits.concurrency_limiter import REFUSED_BY
from api.services import current_services
from worker.jobs.document import path_prefix
from worker.telemetry import tracing

#: Probes come every few seconds: only failures are logged.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
#: Strict-Transport-Security for a year.
_HSTS = "max-age=31536000"
#: Paths in which clients name objects.
_NAMING = ("/v4/", "/v3/")
#: Empty segments, and percent-encoded unreserved characters (RFC 3986, 2.3): ALPHA, DIGIT, "-", ".", "_" and "~".
_OTHER_SPELLING = re.compile(r"//|%(?:4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae]|3[0-9]|2[de])", re.IGNORECASE)
#: Why a request is refused before anything is done for it, or after its response has turned out to be too large.
_REFUSALS = {
    "SAPI_MAX_QUEUED": "Too many requests wait to be worked on: send it again a little later.",
    "SAPI_LISTING_CACHE_BYTES": "Large answers are being sent to others, or to you, that have not been read yet: send "
    "it again a little later, or ask for a part (limit=, fields=).",
}
_SECURITY_HEADERS = {
    # Otherwise the server sends its name.
    "Server": "storage-api",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Responses are data: a browser that opens one must not run scripts.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def init_app(app: Flask) -> None:
    """Register the hooks."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.began = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id())
    path_prefix.set(request.script_root)
    if limit := request.environ.get(REFUSED_BY):
        raise Problem("rate-limited", _REFUSALS[limit], headers={"Retry-After": "1"}, limit=limit)
    config = current_services().config
    if len(_target()) > config.max_url_bytes:
        raise Problem(
            "url-too-long", f"The URL is too long: at most {config.max_url_bytes} bytes.", limit="SAPI_MAX_URL_BYTES"
        )
    if _header_bytes() > config.max_header_bytes:
        detail = f"The headers are too large: at most {config.max_header_bytes} bytes."
        raise Problem("headers-too-large", detail, limit="SAPI_MAX_HEADER_BYTES")
    check_sent_host()
    # Werkzeug drops slashes at the beginning of the path; Granian says nothing of how the path was encoded.
    decoded = str(request.environ.get("PATH_INFO", ""))
    if not _is_canonical(_target().partition("?")[0]) or not _is_canonical(decoded):
        raise Problem(
            "not-found", "Nothing is at this address: write it without // and without needless percent-encoding."
        )


def _target() -> str:
    """Return path and query as sent, where the server provides them."""
    raw = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI")
    return raw or f"{quote(request.path)}?{request.query_string.decode('latin-1')}"


def _is_canonical(path: str) -> bool:
    """Is the path in canonical form? Another spelling must not circumvent a rule of a proxy.

    Names of volumes may be encoded freely; the parts that select a route may not.
    """
    return path.startswith(_NAMING) or not _OTHER_SPELLING.search(path)


def _header_bytes() -> int:
    return sum(len(name) + len(value) + 4 for name, value in request.headers)


def _end(response: Response) -> Response:
    response.headers[HEADER] = request_id()
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", _HSTS)
    present = {name.lower() for name, _ in response.headers}
    # Nobody stores what does not say for how long: much depends on who asks.
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.extend([pair for pair in _SECURITY_HEADERS.items() if pair[0].lower() not in present])
    _log(response)
    return response


def _bind_trace() -> None:
    """Add the trace id to log lines, where the request is traced."""
    traceparent = tracing.current_context()
    if traceparent:
        structlog.contextvars.bind_contextvars(trace_id=tracing.trace_id_of(traceparent))


def _log(response: Response) -> None:
    _bind_trace()
    if request.path in _QUIET and response.status_code < 400:  # noqa: PLR2004 - no error
        return
    job = response.headers.get("Operation-Location", "").rpartition("/")[2]
    who = g.get("principal")
    log_request(
        method=request.method,
        path=request.path,
        status=response.status_code,
        elapsed_s=time.perf_counter() - g.get("began", time.perf_counter()),
        requested_by=who.name if who else "",
        request_id=request_id(),
        job_id=job,
    )
