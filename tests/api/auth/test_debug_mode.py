"""Debug mode gives every role to clients on the same machine, and to no other client, whatever its headers."""

from __future__ import annotations

import logging

import pytest

from api.auth.request_origin import _is_local_name
from tests.api.auth.auth_app import build, roles_of

EVERY = {"USER", "ADMIN", "UBER_ADMIN"}


@pytest.fixture
def client(redis_client):
    return build(redis_client, debug=True).test_client()


def test_signing_in_gives_every_role(client):
    assert roles_of(client) == {"USER"}

    answer = client.get("/login", query_string={"next": "/console/?x=1"})

    assert (answer.status_code, answer.headers["Location"]) == (302, "/console/?x=1")
    assert roles_of(client) == EVERY
    assert client.post("/v4/needs/UBER_ADMIN").status_code == 200


def test_signing_out_takes_them(client):
    client.get("/login")
    client.get("/logout")

    assert roles_of(client) == {"USER"}


@pytest.mark.parametrize(
    "forged",
    [
        {"environ_base": {"REMOTE_ADDR": "10.1.2.3"}},
        {"environ_base": {"REMOTE_ADDR": "10.1.2.3"}, "headers": {"X-Forwarded-For": "127.0.0.1"}},
        {"environ_base": {"REMOTE_ADDR": "10.1.2.3"}, "headers": {"X-Real-IP": "127.0.0.1"}},
        {"headers": {"X-Forwarded-For": "127.0.0.1"}},
        {"headers": {"X-Forwarded-For": "10.1.2.3"}},
        {"headers": {"Forwarded": "for=10.1.2.3"}},
        {"headers": {"X-Client-IP": "10.1.2.3"}},
        {"headers": {"CF-Connecting-IP": "10.1.2.3"}},
        {"headers": {"X-Real-IP": "10.1.2.3"}},
        {"headers": {"X-Original-Forwarded-For": "10.1.2.3"}},
        {"headers": {"True-Client-IP": "10.1.2.3"}},
        {"headers": {"Via": "1.1 proxy"}},
        {"headers": {"Host": "rebound.example.org"}},
        {"headers": {"Host": "127.0.0.1@rebound.example.org"}},
        {"headers": {"Host": "notlocalhost"}},
        {"headers": {"Host": ":8080"}},
        {"environ_base": {"REMOTE_ADDR": "::ffff:10.1.2.3"}},
    ],
    ids=str,
)
def test_clients_on_other_machines_get_no_role(client, forged):
    refused = client.get("/login", **forged)

    assert (refused.status_code, refused.get_json()["code"]) == (403, "sign-in-unavailable")
    client.get("/login")
    assert roles_of(client, **forged) == {"USER"}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::1%lo", "::ffff:127.0.0.1"])
def test_every_loopback_address_may_sign_in(client, address):
    assert client.get("/login", environ_base={"REMOTE_ADDR": address}).status_code == 302


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "storage.localhost", "127.0.0.1:8080", "[::1]:8080"])
def test_every_local_host_name_may_sign_in(client, host):
    assert client.get("/login", headers={"Host": host}).status_code == 302


@pytest.mark.parametrize("name", ["", "[::1", "::1]"])
def test_malformed_host_names_are_not_local(name):
    """Versions of Werkzeug differ in which of these they hand on."""
    assert not _is_local_name(name)


def test_behind_trusted_proxies_the_client_address_decides(redis_client):
    client = build(redis_client, debug=True, trusted_networks=("127.0.0.0/8",)).test_client()

    assert client.get("/login", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 302
    assert client.get("/login", headers={"X-Forwarded-For": "127.0.0.1, 10.1.2.3"}).status_code == 403
    outside = {"headers": {"X-Forwarded-For": "127.0.0.1"}, "environ_base": {"REMOTE_ADDR": "10.1.2.3"}}
    assert client.get("/login", **outside).status_code == 403
    elsewhere = build(redis_client, debug=True, trusted_networks=("10.0.0.0/8",)).test_client()
    assert elsewhere.get("/login", **outside).status_code == 403
    assert elsewhere.get("/login", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403


def test_a_session_of_debug_mode_ends_with_it(client, redis_client):
    client.get("/login")
    cookie = client.get_cookie("sapi_session")
    later = build(redis_client).test_client()
    later.set_cookie("sapi_session", cookie.value)

    assert roles_of(later) == {"USER"}


def test_no_secret_key_is_needed(redis_client):
    client = build(redis_client, debug=True, secret_key="").test_client()
    client.get("/login")
    assert roles_of(client) == EVERY


def test_a_warning_is_logged(redis_client, caplog):
    with caplog.at_level(logging.WARNING):
        build(redis_client, debug=True)

    assert "DEBUG MODE" in caplog.text
