"""A page of another site cannot change anything in a user's name; scripts with cookies can, in their own."""

from __future__ import annotations

import base64

import pytest

from tests.api.auth.auth_app import build

BASIC = {"Authorization": "Basic " + base64.b64encode("svc:páss:wörd".encode()).decode()}
FOREIGN = [
    {"Origin": "https://evil.example.org"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example.org"},
    {"Origin": "http://localhost:81"},
    {"Origin": "https://localhost"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example.org"},
    {"Sec-Fetch-Site": "unheard-of"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://["},
    {"Referer": "https://evil.example.org/localhost"},
    {"Referer": "http://["},
]
OWN = [
    {},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://localhost"},
    {"Sec-Fetch-Site": "none"},
    {"Referer": "http://localhost/page"},
    # A proxy that changes the host: the browser knows where its page came from.
    {"Sec-Fetch-Site": "same-origin", "Referer": "https://storage.example.org/page"},
]


@pytest.fixture
def client(redis_client):
    client = build(redis_client, debug=True, basic_auth_username="svc", basic_auth_password="páss:wörd").test_client()
    client.get("/login")
    return client


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_cross_site_requests_are_refused(client, headers):
    for path in ("/v4/needs/ADMIN", "/logout"):
        answer = client.post(path, headers=headers)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "cross-site-request")
    assert client.get("/logout", headers=headers).status_code == 403
    answer = client.post("/v4/needs/ADMIN", headers=headers | BASIC)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "cross-site-request")


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_same_site_requests_and_scripts_are_accepted(client, headers):
    assert client.post("/v4/needs/ADMIN", headers=headers).status_code == 200
    assert client.post("/v4/needs/ADMIN", headers=headers | BASIC).status_code == 200
    assert client.post("/logout", headers=headers).status_code == 302


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://storage.example.org"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://storage.example.org"},
        {"Referer": "https://storage.example.org/page"},
    ],
    ids=str,
)
def test_host_names_are_compared_without_case(redis_client, headers):
    """Browsers write them in lower case, the configuration may not."""
    user = {"basic_auth_username": "svc", "basic_auth_password": "páss:wörd", "role_admin_groups": ("a",)}
    client = build(redis_client, **user, public_url="https://Storage.Example.org").test_client()
    assert client.post("/v4/needs/ADMIN", headers=headers | BASIC).status_code == 200


def test_reading_changes_nothing(client):
    assert client.get("/v4/needs/ADMIN", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_behind_a_proxy_the_public_address_counts(redis_client):
    client = build(redis_client, debug=True, trusted_networks=("127.0.0.0/8",)).test_client()
    proxied = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "localhost:8443"}
    client.get("/login", headers=proxied, base_url="https://localhost")
    same_origin = proxied | {"Origin": "https://localhost:8443"}

    assert client.post("/v4/needs/ADMIN", headers=same_origin, base_url="https://localhost").status_code == 200
    foreign = proxied | {"Origin": "https://localhost"}
    assert client.post("/v4/needs/ADMIN", headers=foreign, base_url="https://localhost").status_code == 403
