"""Programs learn from the service where their users sign in."""

from __future__ import annotations

from tests.api.auth.auth_app import GROUPS, build

PATH = "/.well-known/oauth-protected-resource"
PROVIDER = {"oauth_client_id": "storage-api", "oauth_issuer": "https://sso.example.org/realms/lab"}


def test_the_provider_and_the_client_of_programs(redis_client):
    settings = GROUPS | PROVIDER | {"oauth_public_client_id": "cli", "oauth_audience": "storage"}
    answer = build(redis_client, **settings).test_client().get(PATH)
    assert answer.get_json() == {
        "resource": "http://localhost",
        "authorization_servers": ["https://sso.example.org/realms/lab"],
        "bearer_methods_supported": ["header"],
        "client_id": "cli",
        "audience": "storage",
    }


def test_settings_that_are_not_configured_are_left_out(redis_client):
    answer = build(redis_client, **GROUPS, **PROVIDER).test_client().get(PATH)
    assert not answer.get_json().keys() & {"client_id", "audience"}
    unnamed = build(redis_client, **GROUPS, oauth_client_id="storage-api").test_client().get(PATH)
    assert unnamed.get_json()["authorization_servers"] == []


def test_there_are_no_query_parameters(redis_client):
    answer = build(redis_client, **GROUPS, **PROVIDER).test_client().get(f"{PATH}?x=1")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "validation-failed")


def test_the_resource_is_the_public_url(redis_client):
    settings = GROUPS | PROVIDER | {"public_url": "https://example.org/storage"}
    answer = build(redis_client, **settings).test_client().get(PATH)
    assert answer.get_json()["resource"] == "https://example.org/storage"


def test_a_provider_that_does_not_answer(redis_client):
    settings = {"oauth_client_id": "storage-api", "oauth_discovery_url": "http://127.0.0.1:1/.well-known/x"}
    answer = build(redis_client, **GROUPS, **settings).test_client().get(PATH)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "sign-in-unavailable")


def test_without_a_provider_the_document_is_not_found(redis_client):
    answer = build(redis_client, **GROUPS).test_client().get(PATH)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not-found")
