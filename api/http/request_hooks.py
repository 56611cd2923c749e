"""What happens around every request: its size, its id, headers that keep its answer safe, a line in the log."""

from __future__ import annotations

import time
from urllib.parse import quote

import structlog
from flask import Flask, Response, g, request

from api.http.problems import Problem
from api.http.request_ids import HEADER, request_id
from api.services import parts

log = structlog.get_logger(__name__)

#: Probes ask every few seconds: no line for each when all is well.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_SAFETY = {
    # Otherwise the server names itself.
    "Server": "storage-api",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Answers are data: a browser that is led to one must run nothing in it.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def init_app(app: Flask) -> None:
    """Register what happens before and after."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.began = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id())
    config = parts().config
    if len(_target()) > config.max_url_bytes:
        raise Problem("url-too-long", f"The URL is too long: at most {config.max_url_bytes} bytes.")
    if _header_bytes() > config.max_header_bytes:
        raise Problem("headers-too-large", f"The headers are too large: at most {config.max_header_bytes} bytes.")


def _target() -> str:
    """The path and query as they were sent, as far as the server tells."""
    raw = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI")
    return raw or f"{quote(request.path)}?{request.query_string.decode('latin-1')}"


def _header_bytes() -> int:
    return sum(len(name) + len(value) + 4 for name, value in request.headers)


def _end(response: Response) -> Response:
    response.headers[HEADER] = request_id()
    present = {name.lower() for name, _ in response.headers}
    response.headers.extend([pair for pair in _SAFETY.items() if pair[0].lower() not in present])
    _log(response)
    return response


def _log(response: Response) -> None:
    if request.path in _QUIET and response.status_code < 400:  # noqa: PLR2004 - no error
        return
    job = response.headers.get("Operation-Location", "").rpartition("/")[2]
    who = g.get("principal")
    log.info(
        "request",
        method=request.method,
        path=request.path[:1024],
        status=response.status_code,
        ms=round((time.perf_counter() - g.get("began", time.perf_counter())) * 1000, 1),
        requested_by=who.name if who else "",
        **({"job_id": job} if job else {}),
    )
