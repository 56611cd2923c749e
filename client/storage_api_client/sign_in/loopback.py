"""The server on the loopback interface to which the browser is redirected after signing in (RFC 8252, 7.3)."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

_PATH = "/callback"
_LIMIT_S = 300.0
_PAGE = b"""<!doctype html><meta charset=utf-8><title>storage-api</title>
<p>Go back to the terminal; this page may be closed."""


class LoopbackServer:
    """Listens on a free port of 127.0.0.1 for one redirect."""

    def __init__(self) -> None:
        self._query: dict[str, str] | None = None
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self._server.timeout = 0.5

    @property
    def redirect_uri(self) -> str:
        """The redirect URI of the authorization request."""
        return f"http://127.0.0.1:{self._server.server_port}{_PATH}"

    def wait(self, limit_s: float = _LIMIT_S) -> dict[str, str] | None:
        """Return the query of the redirect; None when there was none in time."""
        ends_at = time.monotonic() + limit_s
        while self._query is None and time.monotonic() < ends_at:
            self._server.handle_request()
        return self._query

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                parameters = dict(parse_qsl(parts.query))
                is_answer = parts.path == _PATH and ("code" in parameters or "error" in parameters)
                self.send_response(200 if is_answer else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(_PAGE if is_answer else b"Not here.")
                if is_answer:
                    loopback._query = parameters

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Log nothing: the query contains the authorization code."""

        return Handler

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.server_close()
