"""Signing in through a provider, over real HTTP: who gets which roles."""

from __future__ import annotations

import json

import pytest

from tests.api.auth.auth_app import build, callback_of, code_of, query_of, roles_of, sign_in, with_provider
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET


@pytest.fixture
def client(redis_client, provider):
    return with_provider(redis_client, provider).test_client()


@pytest.mark.parametrize(
    ("user", "roles"), [("anna", {"USER"}), ("adam", {"USER", "ADMIN"}), ("uma", {"USER", "UBER_ADMIN"})]
)
def test_groups_become_roles(client, provider, user, roles):
    answer = sign_in(client, user, "/conf/me/roles?x=1")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/conf/me/roles?x=1")
    assert roles_of(client) == roles
    assert client.get("/whoami").get_json() == {"name": user, "roles": sorted(roles), "auth_method": "session"}
    # What the ID token holds is not requested.
    assert "/userinfo" not in provider.request_counts


def test_a_user_in_many_groups_may_sign_in(client, provider):
    """The ID token is in no header of a request."""
    provider.users["adam"].groups += [f"group-{number:016}" for number in range(1000)]
    assert sign_in(client, "adam").status_code == 302
    assert roles_of(client) == {"USER", "ADMIN"}


def test_the_request_has_state_nonce_and_pkce(client):
    query = query_of(client.get("/login").headers["Location"])

    assert query["code_challenge_method"] == "S256"
    assert len(query["state"]) >= 20
    assert len(query["nonce"]) >= 20
    assert len(query["code_challenge"]) == 43
    assert query["client_id"] == CLIENT_ID
    assert query["redirect_uri"] == "http://localhost/oauth-done"
    assert query["scope"] == "openid profile email"


def test_groups_missing_in_the_token_are_requested(redis_client, provider):
    provider.hidden_claims = {"groups", "preferred_username"}
    client = with_provider(redis_client, provider).test_client()
    sign_in(client, "adam")

    assert client.get("/whoami").get_json()["name"] == "adam"
    assert "ADMIN" in roles_of(client)
    assert provider.request_counts["/userinfo"] == 1


def test_groups_of_another_user_are_ignored(redis_client, provider, monkeypatch):
    provider.hidden_claims = {"groups"}
    client = with_provider(redis_client, provider).test_client()
    for owner, roles in (("adam", {"USER"}), ("anna", {"USER", "ADMIN"})):
        answer = provider.users[owner].claims() | {"groups": ["it db, admins"]}
        monkeypatch.setattr("api.auth.provider.IdentityProvider.userinfo", lambda *_, answer=answer: answer)
        sign_in(client, "anna")
        assert roles_of(client) == roles


def test_the_id_token_goes_before_the_user_info(redis_client, provider, monkeypatch):
    provider.hidden_claims = {"groups"}
    client = with_provider(redis_client, provider).test_client()
    answer = provider.users["anna"].claims() | {"preferred_username": "uma", "groups": ["it db, admins"]}
    monkeypatch.setattr("api.auth.provider.IdentityProvider.userinfo", lambda *_: answer)
    sign_in(client, "anna")
    assert client.get("/whoami").get_json() == {"name": "anna", "roles": ["ADMIN", "USER"], "auth_method": "session"}


def test_the_claim_of_the_groups_is_configurable(redis_client, provider):
    client = with_provider(
        redis_client, provider, oauth_groups_claim="preferred_username", role_admin_groups=("anna",)
    ).test_client()
    sign_in(client, "anna")

    assert roles_of(client) == {"USER", "ADMIN"}


def test_scopes_and_the_claim_of_the_name_may_be_set(redis_client, provider):
    client = with_provider(redis_client, provider, oauth_scope="openid storage", oauth_name_claim="sub").test_client()
    assert query_of(client.get("/login").headers["Location"])["scope"] == "openid storage"
    sign_in(client, "anna")
    assert client.get("/whoami").get_json()["name"] == "id-of-anna"


def test_plain_oauth2_with_a_groups_url(redis_client, provider):
    """As in the predecessor's manual: three URLs, and no OpenID."""
    provider.opaque = True
    client = build(
        redis_client,
        oauth_client_id=CLIENT_ID,
        oauth_secret_key=CLIENT_SECRET,
        oauth_authorize_url=f"{provider.issuer}/authorize",
        oauth_token_url=f"{provider.issuer}/token",
        oauth_groups_url=f"{provider.issuer}/groups",
        role_admin_groups=("it db, admins",),
    ).test_client()
    # With nothing to compare it with, what the provider says of itself (RFC 9207) is no reason to refuse it.
    assert client.get(callback_of(client, "adam") + "&iss=https://sso.example.org").status_code == 302

    assert roles_of(client) == {"USER", "ADMIN"}
    other = client.application.test_client()
    sign_in(other, "adam")
    names = {browser.get("/whoami").get_json()["name"] for browser in (client, other)}
    # Jobs of one are not those of another.
    assert [name.startswith("unnamed-") for name in names] == [True, True]


def test_oauth2_without_an_id_token_uses_the_user_info(redis_client, provider):
    client = with_provider(redis_client, provider, oauth_scope="profile").test_client()
    sign_in(client, "adam")
    assert client.get("/whoami").get_json()["name"] == "adam"
    assert "ADMIN" in roles_of(client)
    # The user info does not name the provider; a user of the same name elsewhere is another user.
    (session,) = [redis_client.get(key) for key in redis_client.scan_iter("*session:*")]
    assert json.loads(session)["identity"]["issuer"] == provider.issuer


def test_when_users_need_a_group_anonymous_clients_have_no_role(redis_client, provider):
    client = with_provider(redis_client, provider, role_user_groups=("uber",)).test_client()

    assert roles_of(client) == set()
    assert code_of(client.get("/v4/needs/USER")) == (401, "unauthenticated")
    sign_in(client, "anna")
    refused = client.get("/v4/needs/USER")
    assert code_of(refused) == (403, "missing-role")
    assert "USER" in refused.get_json()["detail"]
    sign_in(client, "uma")
    assert client.get("/v4/needs/USER").status_code == 200


def test_a_changed_group_list_takes_effect_at_once(redis_client, provider):
    client = with_provider(redis_client, provider).test_client()
    sign_in(client, "adam")
    later = with_provider(redis_client, provider, role_admin_groups=("others",)).test_client()
    cookie = client.get_cookie("sapi_session")
    assert cookie
    later.set_cookie("sapi_session", cookie.value)

    assert roles_of(later) == {"USER"}
