"""nginx as it stands before the API: what it passes, what it refuses, and clients that it bears."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from api.settings import ApiSettings
from deploy.dev.embedded_redis import free_port
from tests.deploy.stack import ROOT
from tests.deploy.test_proxy_limits import CONFIG

pytestmark = pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not here: the proxy is not tried")
CLIENTS = 300


class Echo(BaseHTTPRequestHandler):
    """Answers with the request's own target and headers; of a stream its second part, and /readyz, on demand."""

    protocol_version = "HTTP/1.1"
    go_on = threading.Event()
    #: Requests by path.
    requests: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        self.requests[self.path] += 1
        if self.path == "/v4/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"event: job\n\n")
            self.go_on.wait(60)
            return
        if self.path == "/readyz":
            self.go_on.wait(60)
        body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        # As for one client only: nginx knows better.
        self.send_header("Cache-Control", "no-store")
        self.send_header("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
        self.send_header("Vary", "*")
        self.send_header("X-Request-ID", "of one request")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    do_PUT = do_POST  # noqa: N815 - the library's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing."""


def servers(first: int, *others: int) -> str:
    """The file that says where the API is."""
    shipped = (ROOT / "deploy/proxy/kubernetes-servers.conf").read_text("utf-8")
    if not others:
        return shipped.replace(":8000", f":{first}")
    listed = "".join(f"server 127.0.0.1:{port} backup max_fails=0;" for port in others)
    upstream = f"upstream apis {{ server 127.0.0.1:{first} max_fails=0; {listed} }}\n"
    return upstream + shipped.replace("127.0.0.1:8000", "apis")


@contextmanager
def proxy(folder: Path, *api_ports: int) -> Iterator[int]:
    """Run nginx with the deployment's own file before these ports of an API, the first one first; where it listens."""
    folder.chmod(0o777)
    listens = free_port()
    config = CONFIG.replace("listen 8080", f"listen 127.0.0.1:{listens}").replace("/tmp/", f"{folder}/")
    (folder / "nginx.conf").write_text(config, "utf-8")
    (folder / "servers.conf").write_text(servers(*api_ports), "utf-8")
    # As in the container, all processes are of one user.
    same_user = ["-g", "user root;"] if os.geteuid() == 0 else []
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), *same_user]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", listens)) == 0:
                    break
            assert process.poll() is None, "nginx ended"
            assert time.monotonic() < deadline, "nginx does not listen"
        yield listens
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where nginx listens, before a server that echoes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with proxy(tmp_path_factory.mktemp("proxy"), server.server_port) as listens:
            yield listens
    finally:
        server.shutdown()
        server.server_close()


def sent(port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(request)
    return connection


def answer_on(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    with connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, dict(answer.getheaders()), answer.read()


def answer_to(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    return answer_on(sent(port, request))


def question(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: storage.example.org\r\nConnection: close\r\n\r\n".encode()


def get(port: int, target: str) -> tuple[int, dict[str, str], bytes]:
    return answer_to(port, question(target))


@pytest.mark.parametrize(
    "target",
    [
        "/v4/n/volumes/a%2Fb",
        "/v4/n/volumes/node:/x/y",
        "/v4//n/./volumes",
        "/v4/n/volumes?name=a%2Cb&size_used=%3E1000|2&state=!{a}",
    ],
)
def test_the_address_is_passed_as_it_came(port: int, target: str) -> None:
    status, _, body = get(port, target)
    assert (status, json.loads(body)["path"]) == (200, target)


def test_the_client_and_its_host_are_told(port: int) -> None:
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
    # Which release of nginx it is, is nobody's business.
    assert answered["Server"] == "nginx"


@pytest.mark.parametrize("target", ["/metrics", "//metrics", "/%6detrics", "/x/../metrics"])
def test_what_is_for_the_inside_is_not_passed(port: int, target: str) -> None:
    status, headers, body = get(port, target)
    assert (status, headers["Content-Type"]) == (404, "application/problem+json")
    assert json.loads(body)["status"] == 404


def test_a_crowd_that_asks_for_readiness_costs_the_api_one_request_a_second(port: int) -> None:
    began = time.monotonic()
    targets = ["/readyz", "//readyz", "/%72eadyz", *(f"/readyz?{number}" for number in range(40))]
    Echo.go_on.clear()
    crowd = [sent(port, question(target)) for target in targets]
    Echo.go_on.set()
    responses = [answer_on(each) for each in crowd]
    assert {status for status, _, _ in responses} == {200}
    assert {json.loads(body)["path"] for _, _, body in responses} == {"/readyz"}
    assert not [headers for _, headers, _ in responses if "X-Request-ID" in headers]
    assert 1 <= Echo.requests["/readyz"] <= time.monotonic() - began + 2
    assert set(Echo.requests) & {f"/readyz?{number}" for number in range(40)} == set()


def test_a_body_that_the_api_can_take_reaches_it(port: int) -> None:
    for size in (ApiSettings().max_body_bytes + 1, 7 * 2**20):
        head = f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()
        assert answer_to(port, head + b" " * size)[0] == 200


def test_without_an_api_clients_are_told_when_to_come_again(tmp_path: Path) -> None:
    with proxy(tmp_path, free_port()) as listens:
        status, headers, body = get(listens, "/v4/n/volumes")
    assert (status, headers["Content-Type"], headers["Retry-After"]) == (503, "application/problem+json", "2")
    problem = json.loads(body)
    assert (problem["status"], problem["retryable"]) == (503, True)


@contextmanager
def dying_api() -> Iterator[tuple[int, list[str]]]:
    """A process that reads each request and ends before it has answered; its port, and the methods that it has seen."""
    seen: list[str] = []

    class Dying(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen.append(self.request.recv(65536).split()[0].decode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dying) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()


def test_a_change_that_an_api_process_has_seen_is_sent_to_no_other(tmp_path: Path) -> None:
    """That process may have accepted it; a read may be asked for again."""
    other = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    methods = ("DELETE", "PUT", "POST", "PATCH", "GET")
    with dying_api() as (port, seen), proxy(tmp_path, port, other.server_port) as listens:
        statuses = [
            answer_to(listens, question("/v4/n/volumes/a").replace(b"GET", method.encode()))[0] for method in methods
        ]
    other.shutdown()
    other.server_close()
    assert seen == list(methods)
    assert statuses == [503, 503, 503, 503, 200]


@pytest.mark.parametrize("target", ["/v3/n/volumes/a%2Fb?x=%20", "/v4//n/./volumes/node:/x/y"])
def test_changes_are_passed_as_they_came_too(port: int, target: str) -> None:
    request = f"PUT {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()
    assert json.loads(answer_to(port, request)[2])["path"] == target


@pytest.mark.parametrize(
    ("target", "field", "status"),
    [
        ("/v3/n/volumes/<b", b"", 400),
        ("/v3/n", b"X: " + b"x" * 70_000, 431),
        ("/v3/n", b"Content-Length: 9000000", 413),
    ],
    ids=["an address", "the head", "the body"],
)
def test_clients_of_v3_are_refused_in_their_form(port: int, target: str, field: bytes, status: int) -> None:
    request = b"POST %b HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % (target.encode(), field)
    code, headers, body = answer_to(port, request)
    assert (code, headers["Content-Type"], headers.get("Retry-After")) == (status, "application/json", None)
    assert json.loads(body).keys() == {"message"}
    assert body.endswith(b"}\n")


def test_without_an_api_clients_of_v3_are_told_so_in_their_form(tmp_path: Path) -> None:
    with proxy(tmp_path, free_port()) as listens:
        status, headers, body = get(listens, "/v3/n/volumes")
    assert (status, headers["Content-Type"], headers["Retry-After"]) == (503, "application/json", "2")
    assert "again" in json.loads(body)["message"]


@pytest.mark.parametrize("target", ["/sent-once", "/proxy-errors/503", "/proxy-errors/v3/503"])
def test_what_nginx_has_for_itself_is_not_there_for_clients(port: int, target: str) -> None:
    status, headers, body = get(port, target)
    assert (status, headers["Content-Type"], json.loads(body)["code"]) == (404, "application/problem+json", "not-found")


def test_no_connection_to_the_api_is_used_twice(port: int) -> None:
    assert json.loads(get(port, "/")[2])["headers"]["Connection"] == "close"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: two words\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: x\r\n" * 90 + b"\r\n", 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n", 413),
    ],
)
def test_what_nginx_refuses_is_a_problem_document(port: int, request_: bytes, status: int) -> None:
    code, headers, body = answer_to(port, request_)
    assert (code, headers["Content-Type"]) == (status, "application/problem+json")
    assert json.loads(body)["status"] == status


@pytest.mark.parametrize(
    "target",
    [
        "/v4/n/volumes?size_used=>1000",
        "/v4/n/volumes?name=<b",
        '/v4/n/volumes?name="b"',
        "/v4/n/volumes/<b",
        "/é",
        "/?é",
    ],
)
def test_an_address_that_the_api_could_not_read_is_refused_with_the_remedy(port: int, target: str) -> None:
    status, headers, body = get(port, target)
    assert (status, headers["Content-Type"]) == (400, "application/problem+json")
    assert "%3E" in json.loads(body)["detail"]


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
def test_clients_that_send_nothing_keep_nobody_from_an_answer(port: int, sent: bytes) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(CLIENTS)]
    try:
        for each in slow:
            each.sendall(sent)
        assert get(port, "/")[0] == 200
        assert len(slow) == CLIENTS
    finally:
        for each in slow:
            each.close()
