"""The Host header, of which each request of HTTP/1.1 has one."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.front_end import FrontEnd, problem


def _ask(client: FlaskClient, host: str, protocol: str = "HTTP/1.1", path: str = "/healthz") -> Any:
    return client.get(path, environ_overrides={"HTTP_HOST": host, "SERVER_PROTOCOL": protocol})


@pytest.mark.parametrize(
    "host", ["example.org", "storage_api:8000", "127.0.0.1:", "[2001:db8::1]:443", "xn--e1a.example"]
)
def test_valid_hosts_are_accepted(client: FlaskClient, host: str):
    assert _ask(client, host).status_code == 200


# Several headers come joined by commas.
@pytest.mark.parametrize("host", ["", "a,b", "a, b", "a b", "a/b", "user@a", "a:80:80", "[::1", "a\x00"])
def test_invalid_or_repeated_hosts_are_refused(client: FlaskClient, host: str):
    problem(_ask(client, host), 400, "invalid-request")
    refused = _ask(client, host, path="/v3/filer/volumes")
    assert (refused.status_code, set(refused.json)) == (400, {"message"})


def test_http_1_0_needs_no_host_header(client: FlaskClient):
    assert [_ask(client, "", protocol).status_code for protocol in ("HTTP/1.0", "HTTP/1")] == [200, 200]


def test_a_public_url_does_not_replace_the_host_header(redis_client: Any, redis_url: str):
    client = FrontEnd(redis_url, auth={"public_url": "https://storage.example.org"}).client()
    assert _ask(client, "inside:8000").status_code == 200
    problem(_ask(client, ""), 400, "invalid-request")
