"""What the sign-in provider's HTTP server may answer, and for how long."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from api.auth import provider_http
from api.auth.provider_http import ProviderRefused, ProviderUnavailable, request_json

#: Status and body of each path.
_ANSWERS = {
    "/object": (200, b'{"a": 1}'),
    "/list": (200, b"[1]"),
    "/page": (200, b"<html>"),
    "/largest": (200, json.dumps({"a": "x" * (2**20 - 9)}).encode()),
    "/too-large": (200, json.dumps({"a": "x" * (2**20 - 8)}).encode()),
    "/refused": (401, b'{"error": "invalid_token"}'),
    "/malformed": (400, b"{}"),
    "/wrong-secret": (401, b'{"error": "invalid_client"}'),
    "/not-for-us": (400, b'{"error": "unauthorized_client"}'),
    "/no-object": (403, b"[]"),
    "/a-page": (403, b"<html>"),
    "/listed-error": (400, b'{"error": ["invalid_client"]}'),
    "/too-slow": (408, b"{}"),
    "/too-early": (425, b"{}"),
    "/too-many": (429, b"{}"),
    "/failed": (500, b"{}"),
    "/moved": (302, b'{"a": 1}'),
    "/broken-off": (200, b'{"a": 1}'),
    "/slow": (200, b'{"a": 1}'),
    "/silent": (200, b'{"a": 1}'),
    "/zipped": (200, gzip.compress(b'{"a": 1}')),
}
#: What is announced of a body and does not come.
_MISSING_BYTES = {"/slow": 10**6, "/broken-off": 1}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        self.server.accepts.add(self.headers["Accept"])  # type: ignore[attr-defined]
        if self.path == "/silent":
            self.server.is_gone.wait(10)  # type: ignore[attr-defined]
        status, body = _ANSWERS[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + _MISSING_BYTES.get(self.path, 0)))
        if status == 302:
            self.send_header("Location", "/object")
        if self.path == "/zipped":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/slow":
            self._send_slowly()

    def _send_slowly(self) -> None:
        """Send a byte now and then, until the client closes the connection."""
        with suppress(OSError):
            while not self.server.is_gone.wait(0.01):  # type: ignore[attr-defined]
                self.wfile.write(b" ")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Write no access log."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server that records the requested paths."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        running.paths, running.accepts = [], set()  # type: ignore[attr-defined]
        running.is_gone = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.is_gone.set()  # type: ignore[attr-defined]
        running.shutdown()


@pytest.fixture
def ask(server):
    return lambda path: request_json("GET", f"http://127.0.0.1:{server.server_port}{path}")


def test_a_json_object_is_accepted(ask, server):
    assert ask("/object") == {"a": 1}
    # Some send forms or signed tokens otherwise.
    assert server.accepts == {"application/json"}
    assert len(ask("/largest")["a"]) == 2**20 - 9
    assert ask("/zipped") == {"a": 1}


@pytest.mark.parametrize(
    "path",
    [
        *("/list", "/page", "/too-large", "/too-slow", "/too-early", "/too-many", "/failed", "/moved", "/broken-off"),
        *("/wrong-secret", "/not-for-us"),
    ],
)
def test_any_other_response_is_an_error(ask, server, path):
    with pytest.raises(ProviderUnavailable) as caught:
        ask(path)
    assert not isinstance(caught.value, ProviderRefused)
    # What belongs to the provider goes nowhere else.
    assert server.paths == [path]


@pytest.mark.parametrize("path", ["/refused", "/malformed", "/no-object", "/a-page", "/listed-error"])
def test_a_4xx_response_is_a_refusal(ask, path):
    with pytest.raises(ProviderRefused):
        ask(path)


def test_a_response_sent_byte_by_byte_times_out(ask, monkeypatch):
    monkeypatch.setattr(provider_http, "COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(ProviderUnavailable, match="too slow"):
        ask("/slow")


def test_a_server_that_does_not_answer_times_out(ask, server, monkeypatch):
    monkeypatch.setattr(provider_http, "COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(ProviderUnavailable, match="ReadTimeout"):
        ask("/silent")
    server.is_gone.set()
