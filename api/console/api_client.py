"""Calls of the API from within the process, on behalf of whoever asked for the page.

A call goes through the whole WSGI application with the cookies and addresses of the page's request. So a page can show
and do just what its user could by HTTP, and every call has its audit event, its counters and its request line.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import orjson
from flask import current_app, request
from werkzeug.datastructures import Headers
from werkzeug.test import run_wsgi_app

from api.auth.forwarding import PEER

#: Headers of the page's request that say what the page may be, not who asks; and its address as it was sent.
_NOT_PASSED_ON = (
    "HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "HTTP_CACHE_CONTROL", "HTTP_IF_MATCH", "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_NONE_MATCH", "HTTP_IF_RANGE", "HTTP_IF_UNMODIFIED_SINCE", "HTTP_PRAGMA", "HTTP_PREFER", "HTTP_RANGE",
    "HTTP_TRANSFER_ENCODING", "HTTP_IDEMPOTENCY_KEY", "RAW_URI", "REQUEST_URI",
)  # fmt: skip
_PRIVATE = ("flask.", "werkzeug.", "sapi.")


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """What the API answered; ``body`` is parsed JSON (None when there is none)."""

    status: int
    headers: Headers
    body: Any

    @property
    def job_id(self) -> str:
        """The id of the job that was accepted, or an empty text.

        Refusals name jobs, too: another one that the key of the form has made, or one that is read first.
        """
        if self.status >= HTTPStatus.BAD_REQUEST:
            return ""
        return self.headers.get("Operation-Location", "").partition("?")[0].rpartition("/")[2]


def call(
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> ApiResponse:
    """Call the API.

    Args:
        method: the HTTP method.
        path: the path, decoded.
        query: query parameters; those without a value are left out.
        body: sent as JSON; None sends no body.
        headers: further headers, such as ``Prefer``.
    """
    text = urlencode({name: value for name, value in (query or {}).items() if value not in (None, "")}, doseq=True)
    environ = _environ(method, path, text, b"" if body is None else orjson.dumps(body), headers or {})
    chunks, status, response_headers = run_wsgi_app(current_app.wsgi_app, environ, buffered=True)
    data = b"".join(chunks)
    is_json = data and "json" in response_headers.get("Content-Type", "")
    return ApiResponse(int(status.split(" ", 1)[0]), response_headers, orjson.loads(data) if is_json else None)


def _environ(method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    environ = {
        name: value
        for name, value in request.environ.items()
        if name not in _NOT_PASSED_ON and not name.startswith(_PRIVATE)
    }
    environ |= {
        # As the server gave it: the call goes through `ForwardingMiddleware`, too, which finds the client's.
        "REMOTE_ADDR": request.environ[PEER],
        "REQUEST_METHOD": method,
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "CONTENT_TYPE": "application/json" if body else "",
        "wsgi.input": io.BytesIO(body),
        "HTTP_ACCEPT": "application/json",
    }
    return environ | {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}


def next_token(answer: ApiResponse) -> str:
    """Return the token of a collection's next page, from the Link header; empty on the last."""
    link = answer.headers.get("Link", "")
    if 'rel="next"' not in link:
        return ""
    address = link.partition("<")[2].partition(">")[0]
    return parse_qs(urlsplit(address).query).get("page_token", [""])[0]
