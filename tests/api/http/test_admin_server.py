"""Probes and metrics on a port of their own: what is served there, and that no client can block it."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest
import requests

from api.http.admin_server import PATHS, start_admin_server
from tests.api.front_end import FrontEnd

#: More than the server keeps open at a time.
_SILENT_CLIENTS = 200


@pytest.fixture(scope="module")
def one_at_a_time(redis_url: str) -> FrontEnd:
    return FrontEnd(redis_url, max_working=1)


@pytest.fixture(scope="module")
def port(one_at_a_time: FrontEnd) -> int:
    return start_admin_server(one_at_a_time.app(), "127.0.0.1", 0)


@pytest.fixture(autouse=True)
def _with_redis(redis_client: object) -> None:
    """Redis answers, and is empty."""


def get(port: int, path: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{port}{path}", timeout=20)


@pytest.mark.parametrize("path", sorted(PATHS))
def test_probes_and_metrics_are_served_without_a_permit(port: int, one_at_a_time: FrontEnd, path: str) -> None:
    with one_at_a_time.services.concurrency_limiter.permit({}):
        answer = get(port, path)
    assert answer.status_code == 200
    assert answer.headers["Server"] == "storage-api"


@pytest.mark.parametrize(
    "path", ["/", "/v4/jobs", "/v4/filer/volumes", "/openapi.json", "/metrics/", "/console/", "/v%C3%A9"]
)
def test_other_paths_are_not_found(port: int, path: str) -> None:
    answer = get(port, path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    document = answer.json()
    assert (document["code"], document["instance"]) == ("not-found", path)
    assert document["request_id"] == answer.headers["X-Request-ID"]


def test_a_head_has_the_length_of_the_body_and_no_body(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"HEAD /v4/jobs HTTP/1.0\r\nX-Request-ID: mine\r\n\r\n")
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    assert (b"404 Not Found" in head, b"X-Request-ID: mine" in head, body) == (True, True, b"")
    assert int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]) > 100


@pytest.mark.parametrize("sent", [b'"x" \\ y\r\n\r\n', b"GET /healthz HTTP/9.9\r\n\r\n", b"GET / HTTP/x\r\n\r\n"])
def test_a_malformed_request_is_answered_with_a_problem(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    document = json.loads(received[received.index(b"{") :])
    assert document["code"] == "invalid-request"
    assert document["status"] in (400, 505)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHos"], ids=["idle", "half a head"])
def test_many_silent_clients_do_not_block_other_requests(port: int, sent: bytes) -> None:
    with ExitStack() as stack:
        connections = []
        for _ in range(_SILENT_CLIENTS):
            connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)))
            connections[-1].sendall(sent)
        assert get(port, "/healthz").status_code == 200
        # The oldest were closed for those that came later, and not because their time was over.
        connections[0].settimeout(5)
        assert connections[0].recv(1) == b""
        connections[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            connections[-1].recv(1)


def test_connections_that_have_ended_do_not_count(one_at_a_time: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise frequent probes would cut off a slow scrape."""
    monkeypatch.setattr("api.http.admin_server._MOST_CONNECTIONS", 2)
    port = start_admin_server(one_at_a_time.app(), "127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as probe:
                probe.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert b"alive" in b"".join(iter(lambda: probe.recv(65536), b""))
        slow.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.recv(1)


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="this host has no IPv6")
def test_it_listens_on_ipv6_too(one_at_a_time: FrontEnd) -> None:
    port = start_admin_server(one_at_a_time.app(), "::1", 0)
    assert requests.get(f"http://[::1]:{port}/healthz", timeout=20).status_code == 200


def test_a_silent_client_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.http.admin_server._MOST_S", 0.0)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        assert connection.recv(1) == b""


def test_several_processes_share_the_port(port: int, redis_url: str) -> None:
    assert start_admin_server(FrontEnd(redis_url).app(), "127.0.0.1", port) == port
