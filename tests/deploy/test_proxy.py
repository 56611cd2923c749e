"""nginx as it stands before the API: what it passes, and clients that it bears."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from api.settings import ApiSettings
from tests.deploy.running_proxy import (
    Echo,
    answer_on,
    answer_to,
    echoing_proxy,
    get,
    needs_nginx,
    proxy,
    question,
    sent,
)

pytestmark = needs_nginx
CLIENTS = 300


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with echoing_proxy(tmp_path_factory.mktemp("proxy")) as listens:
        yield listens


@pytest.mark.parametrize(
    "target",
    [
        "/v4/n/volumes/a%2Fb",
        "/v4/n/volumes/node:/x/y",
        "/v4//n/./volumes",
        "/v4/n/volumes?name=a%2Cb&size_used=%3E1000|2&state=!{a}",
    ],
)
def test_the_url_is_passed_unchanged(port: int, target: str) -> None:
    status, _, body = get(port, target)
    assert (status, json.loads(body)["path"]) == (200, target)


def test_forwarded_headers_are_set(port: int) -> None:
    headers = json.loads(get(port, "/")[2])["headers"]
    assert headers["Host"] == headers["X-Forwarded-Host"] == "storage.example.org"
    assert headers["X-Forwarded-For"].rpartition(", ")[2] == "127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "http"
    # What proxies before this one have added stays.
    request = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n"
    headers = json.loads(answer_to(port, request)[2])["headers"]
    assert headers["X-Forwarded-For"] == "203.0.113.7, 127.0.0.1"
    request = b"GET / HTTP/1.1\r\nHost: h:8443\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
    _, answered, body = answer_to(port, request)
    headers = json.loads(body)["headers"]
    assert [headers[f"X-Forwarded-{what}"] for what in ("Proto", "Host")] == ["https", "h:8443"]
    headers = json.loads(answer_to(port, b"GET / HTTP/1.0\r\n\r\n")[2])["headers"]
    assert (headers["Host"], "X-Forwarded-Host" in headers) == ("no-host.invalid", False)
    # The release of nginx is not disclosed.
    assert answered["Server"] == "nginx"


@pytest.mark.parametrize("target", ["/metrics", "//metrics", "/%6detrics", "/x/../metrics"])
def test_internal_paths_are_not_passed(port: int, target: str) -> None:
    status, headers, body = get(port, target)
    assert (status, headers["Content-Type"]) == (404, "application/problem+json")
    assert json.loads(body)["status"] == 404


def test_readiness_requests_are_cached_for_a_second(port: int) -> None:
    began = time.monotonic()
    targets = ["/readyz", "//readyz", "/%72eadyz", *(f"/readyz?{number}" for number in range(40))]
    Echo.go_on.clear()
    connections = [sent(port, question(target)) for target in targets]
    Echo.go_on.set()
    responses = [answer_on(each) for each in connections]
    assert {status for status, _, _ in responses} == {200}
    assert {json.loads(body)["path"] for _, _, body in responses} == {"/readyz"}
    assert not [headers for _, headers, _ in responses if "X-Request-ID" in headers]
    assert 1 <= Echo.requests["/readyz"] <= time.monotonic() - began + 2
    assert set(Echo.requests) & {f"/readyz?{number}" for number in range(40)} == set()


def test_a_body_of_maximum_size_is_passed(port: int) -> None:
    for size in (ApiSettings().max_body_bytes + 1, 7 * 2**20):
        head = f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()
        assert answer_to(port, head + b" " * size)[0] == 200


@contextmanager
def dropping_api() -> Iterator[tuple[int, list[str]]]:
    """A process that reads each request and ends before it has answered; its port, and the methods that it has seen."""
    seen: list[str] = []

    class Dropping(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen.append(self.request.recv(65536).split()[0].decode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dropping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()


def test_a_change_that_an_api_process_has_seen_is_sent_to_no_other(tmp_path: Path) -> None:
    """That process may have accepted it; a read may be repeated."""
    other = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    methods = ("DELETE", "PUT", "POST", "PATCH", "GET")
    with dropping_api() as (port, seen), proxy(tmp_path, port, other.server_port) as listens:
        statuses = [
            answer_to(listens, question("/v4/n/volumes/a").replace(b"GET", method.encode()))[0] for method in methods
        ]
    other.shutdown()
    other.server_close()
    assert seen == list(methods)
    assert statuses == [503, 503, 503, 503, 200]


@pytest.mark.parametrize("target", ["/v3/n/volumes/a%2Fb?x=%20", "/v4//n/./volumes/node:/x/y"])
def test_changes_are_passed_unchanged(port: int, target: str) -> None:
    request = f"PUT {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()
    assert json.loads(answer_to(port, request)[2])["path"] == target


def test_no_connection_to_the_api_is_used_twice(port: int) -> None:
    assert json.loads(get(port, "/")[2])["headers"]["Connection"] == "close"


def test_events_are_passed_on_at_once(port: int) -> None:
    Echo.go_on.clear()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /v4/events HTTP/1.1\r\nHost: h\r\n\r\n")
        received = b""
        while b"event: job" not in received:
            received += connection.recv(4096)
        assert not Echo.go_on.is_set()
        Echo.go_on.set()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHos", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n{"],
    ids=["idle", "half a head", "a body that does not come"],
)
def test_silent_clients_do_not_block_other_requests(port: int, sent: bytes) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(CLIENTS)]
    try:
        for each in slow:
            each.sendall(sent)
        assert get(port, "/")[0] == 200
        assert len(slow) == CLIENTS
    finally:
        for each in slow:
            each.close()
