"""Signing in, and tokens, with the certified provider of npm: an independent implementation of the protocols."""

from __future__ import annotations

import pytest

from api.auth.provider import IdentityProvider
from tests.api.auth.auth_app import bearer, build, query_of
from tests.identity_provider.certified import certified_provider
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET

__all__ = ["certified_provider"]

AUDIENCE = "urn:storage-api"


@pytest.fixture
def client_with(redis_client, certified_provider, monkeypatch):
    """A client of the service, with these settings and this provider."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    issuer = certified_provider.issuer
    defaults = {
        "oauth_discovery_url": f"{issuer}/.well-known/openid-configuration",
        "oauth_client_id": CLIENT_ID,
        "oauth_secret_key": CLIENT_SECRET,
        "oauth_audience": AUDIENCE,
        "role_admin_groups": ("it db, admins",),
        "role_uber_admin_groups": ("uber",),
    }
    return lambda **more: build(redis_client, **(defaults | more)).test_client()


def returned(client, provider, user):
    """Where the provider sends a browser back to, that was sent there to sign in."""
    leaving = client.get("/login?next=/whoami")
    assert leaving.status_code == 302, leaving.text
    assert query_of(leaving.headers["Location"])["code_challenge_method"] == "S256"
    return provider.sign_in(leaving.headers["Location"], user).removeprefix("http://localhost")


@pytest.mark.parametrize(
    ("user", "roles"), [("adam", ["ADMIN", "USER"]), ("uma", ["UBER_ADMIN", "USER"]), ("x", ["USER"])]
)
def test_signing_in(client_with, certified_provider, user, roles):
    client = client_with()

    answer = client.get(returned(client, certified_provider, user))

    assert (answer.status_code, answer.headers["Location"]) == (302, "/whoami")
    assert client.get("/whoami").get_json() == {"name": user, "roles": roles, "auth_method": "session"}


def test_a_code_works_once_and_in_one_browser(client_with, certified_provider):
    client, other = client_with(), client_with()
    back = returned(client, certified_provider, "adam")

    assert other.get(back).status_code == 400
    assert client.get(back).status_code == 302
    assert client.get(back).status_code == 400


def test_a_callback_from_another_issuer_is_refused(client_with, certified_provider):
    client = client_with()
    back = returned(client, certified_provider, "adam")
    sender = query_of(back)["iss"]  # RFC 9207; Authlib's provider says nothing of the kind.
    assert sender == certified_provider.issuer

    assert (
        client.get(back.replace(back.partition("iss=")[2].partition("&")[0], "https%3A%2F%2Fevil")).status_code == 400
    )


def test_a_jwt_of_a_machine_is_accepted(client_with, certified_provider):
    token = certified_provider.token(resource=AUDIENCE)
    assert token.count(".") == 2

    who = client_with().get("/whoami", headers=bearer(token)).get_json()

    assert who == {"name": "robot", "roles": ["ADMIN", "USER"], "auth_method": "bearer"}


def test_a_jwt_for_another_audience_is_refused(client_with, certified_provider):
    token = certified_provider.token(resource="urn:elsewhere")

    assert client_with().get("/whoami", headers=bearer(token)).status_code == 401


def test_opaque_tokens(client_with, certified_provider):
    client = client_with(oauth_introspection_url=f"{certified_provider.issuer}/token/introspection")
    token = certified_provider.token(resource=f"{AUDIENCE}:opaque")
    assert "." not in token

    who = client.get("/whoami", headers=bearer(token)).get_json()

    assert who == {"name": "robot", "roles": ["ADMIN", "USER"], "auth_method": "bearer"}
    assert client.get("/whoami", headers=bearer(token[:-1])).status_code == 401
    assert client.get("/whoami", headers=bearer(certified_provider.token())).status_code == 401


def test_an_id_token_is_no_access_token(client_with, certified_provider, monkeypatch):
    client, seen = client_with(oauth_audience=""), []
    exchange = IdentityProvider.exchange

    def record(*args, **options):
        seen.append(exchange(*args, **options))
        return seen[-1]

    monkeypatch.setattr(IdentityProvider, "exchange", record)
    client.get(returned(client, certified_provider, "adam"))
    (tokens,) = seen

    assert client.get("/conf/me/roles", headers=bearer(tokens["id_token"])).status_code == 401
