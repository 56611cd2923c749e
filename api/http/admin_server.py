"""Probes and metrics on a separate port, whose connections clients of the API cannot exhaust.

A thread of each process serves it: when every request thread is busy, and when the server accepts no more connections,
it still answers. Processes share the port (``SO_REUSEPORT``). Connections are bounded too: when there are too many, the
oldest is closed for a new one, and none lasts longer than some seconds.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import orjson

from api.http.buffering import Application, Environ, StartResponse
from api.http.problems import MEDIA_TYPE, Problem, instance_of, problem_document
from api.http.request_ids import HEADER, given_or_new
from api.limits.concurrency_limiter import ON_ADMIN_PORT

#: The only paths that are served here.
PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_MOST_CONNECTIONS = 64
_MOST_S = 10.0


def start_admin_server(application: Application, address: str, port: int) -> int:
    """Serve the paths for administrators in the background, and return the port (for port 0, the chosen one).

    Args:
        application: the whole service.
        address: where to listen: an IP address, or a name of this host.
        port: the TCP port.

    Raises:
        OSError: it is in use, or this host does not have that address.
    """
    server = _Server(address, port)
    server.set_app(_only_for_administrators(application))
    threading.Thread(target=server.serve_forever, name="admin-server", daemon=True).start()
    return server.server_port


def _only_for_administrators(application: Application) -> Application:
    def serve(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] in PATHS:
            return application({**environ, ON_ADMIN_PORT: True}, start_response)
        return _not_found(environ, start_response)

    return serve


def _not_found(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    problem, request_id = Problem("not-found", f"On this port there are {', '.join(sorted(PATHS))}."), _id_of(environ)
    # WSGI has the bytes of the path as Latin-1.
    instance = instance_of(environ["PATH_INFO"].encode("latin-1").decode(errors="replace"))
    body = orjson.dumps(problem_document(problem, instance=instance, request_id=request_id))
    headers = {
        "Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), "Cache-Control": "no-store", HEADER: request_id,
    }  # fmt: skip
    start_response("404 Not Found", list(headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _id_of(environ: Environ) -> str:
    return given_or_new(environ.get("HTTP_X_REQUEST_ID", ""))


class _Handler(WSGIRequestHandler):
    """One request, one connection."""

    server_version = "storage-api"
    sys_version = ""
    #: What cannot be read as a request; the library would quote it in a page.
    error_content_type = MEDIA_TYPE
    error_message_format = (
        '{"type": "/problems/invalid-request", "title": "Invalid request", "status": %(code)d, '
        '"detail": "This is no HTTP request.", "code": "invalid-request", "retryable": false}'
    )

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Log nothing: the application has its own log."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = True
    request_queue_size = 1024

    def __init__(self, address: str, port: int) -> None:
        self._began_s: OrderedDict[socket.socket, float] = OrderedDict()
        self._lock = threading.Lock()
        if ":" in address:
            self.address_family = socket.AF_INET6
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        # WSGIServer's own method does a DNS look-up of this host's name.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection in a thread of its own."""
        with self._lock:
            self._began_s[request] = time.monotonic()
            if len(self._began_s) > _MOST_CONNECTIONS:
                _cut_off(self._began_s.popitem(last=False)[0])
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._began_s.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Shut down connections that take too long; called twice a second."""
        oldest_s = time.monotonic() - _MOST_S
        with self._lock:
            for request in [candidate for candidate, began_s in self._began_s.items() if began_s < oldest_s]:
                del self._began_s[request]
                _cut_off(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: the client has closed the connection, or it was shut down."""


def _cut_off(connection: socket.socket) -> None:
    """Shut a connection down, so that the thread that reads or writes it wakes and closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
