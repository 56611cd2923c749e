"""Requests whose sender is cut off in the middle: nothing is made of what has arrived; and odd spellings of paths."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from tests.e2e.client import Client, Service, problem

CHUNKED = "Transfer-Encoding: chunked"


def cut_off(http: Client, service: Service, path: str, header: str, sent: bytes) -> bytes:
    """Send the beginning of a request, hang up as far as one can, and return the first of the answer."""
    where = urlsplit(service.url)
    cookie = "; ".join(f"{name}={value}" for name, value in http.cookies.get_dict().items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\nCookie: {cookie}\r\n"
        f"Prefer: wait=20\r\nContent-Type: application/json\r\n{header}\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(head.encode() + sent)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(65536)


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        ("Content-Length: 20", b""),
        ("Content-Length: 20", b"{}"),
        (CHUNKED, b""),
        (CHUNKED, b"zz\r\n{}\r\n0\r\n\r\n"),
        (CHUNKED, b'40\r\n{"size_total": 1'),
    ],
)
def test_a_malformed_body_creates_nothing(http: Client, service: Service, name: str, header: str, sent: bytes) -> None:
    answer = cut_off(http, service, f"/v4/dummy/volumes/{name}", header, sent)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    problem(http.get(f"/v4/dummy/volumes/{name}", headers={"Prefer": "wait=20"}), 404, "no-such-volume")


@pytest.mark.parametrize("target", ["//metrics", "/%2Fmetrics", "///healthz", "http://host//metrics", "/conf//roles"])
def test_paths_with_empty_segments_are_not_found(service: Service, target: str) -> None:
    """A proxy's rule on /metrics must hold for every spelling that the service would serve."""
    where = urlsplit(service.url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")
