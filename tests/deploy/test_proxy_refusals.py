"""What nginx refuses before the API has seen it, and how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.dev.embedded_redis import free_port
from tests.deploy.running_proxy import answer_to, echoing_proxy, get, needs_nginx, proxy

pytestmark = needs_nginx


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with echoing_proxy(tmp_path_factory.mktemp("proxy")) as listens:
        yield listens


def test_without_an_api_retry_after_is_sent(tmp_path: Path) -> None:
    with proxy(tmp_path, free_port()) as listens:
        status, headers, body = get(listens, "/v4/n/volumes")
    assert (status, headers["Content-Type"], headers["Retry-After"]) == (503, "application/problem+json", "2")
    problem = json.loads(body)
    assert (problem["status"], problem["retryable"]) == (503, True)


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


def test_without_an_api_clients_of_v3_get_an_error_in_their_form(tmp_path: Path) -> None:
    with proxy(tmp_path, free_port()) as listens:
        status, headers, body = get(listens, "/v3/n/volumes")
    assert (status, headers["Content-Type"], headers["Retry-After"]) == (503, "application/json", "2")
    assert "again" in json.loads(body)["message"]


@pytest.mark.parametrize("target", ["/sent-once", "/proxy-errors/503", "/proxy-errors/v3/503"])
def test_internal_locations_of_nginx_are_not_found(port: int, target: str) -> None:
    status, headers, body = get(port, target)
    assert (status, headers["Content-Type"], json.loads(body)["code"]) == (404, "application/problem+json", "not-found")


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
