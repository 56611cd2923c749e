"""Token introspection, and a provider that is unavailable."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.api.auth.auth_app import bearer, build, roles_of, with_provider
from tests.api.auth.machine_tokens import assert_refused, machine_token
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET

ADMINS = ["it db, admins"]


@pytest.fixture
def client(redis_client, provider):
    return with_provider(redis_client, provider).test_client()


class TestIntrospection:
    @pytest.fixture
    def client(self, redis_client, provider):
        provider.opaque, provider.audience = True, CLIENT_ID
        return build(
            redis_client,
            oauth_client_id=CLIENT_ID,
            oauth_secret_key=CLIENT_SECRET,
            oauth_introspection_url=f"{provider.issuer}/introspect",
            role_admin_groups=ADMINS,
            oauth_token_url=f"{provider.issuer}/token",
        ).test_client()

    def test_an_opaque_token_works(self, client, provider):
        token = machine_token(provider)
        for _ in range(3):
            who = client.get("/whoami", headers=bearer(token)).get_json()
            assert who == {"name": "machine", "roles": ["ADMIN", "USER"], "auth_method": "bearer"}

        assert provider.request_counts["/introspect"] == 1

    def test_tokens_that_are_unknown_or_of_another_audience_are_refused(self, client, provider):
        assert_refused(client.get("/whoami", headers=bearer("unknown")))
        token = machine_token(provider)
        provider.audience = "another-service"
        assert_refused(client.get("/whoami", headers=bearer(token)))

    @pytest.mark.parametrize(
        "claims",
        [
            {"client_id": "another-client", "sub": "adam"},
            {"client_id": "another-client", "sub": None, "username": "adam"},
            {"token_type": "refresh_token"},
            {"cnf": {"jkt": "x"}},
            {"aud": ["another-service"]},
            {"aud": f"the-other-{CLIENT_ID}"},
            {"active": "true"},
            {"exp": 1},
            {"nbf": 1 << 40},
        ],
        ids=str,
    )
    def test_claims_of_the_introspection_response_are_checked(self, client, monkeypatch, claims):
        answer = {"active": True, "sub": "adam", "groups": ADMINS} | claims
        said = {name: value for name, value in answer.items() if value is not None}
        monkeypatch.setattr("api.auth.bearer.request_json", lambda *_args, **_more: said)

        assert_refused(client.get("/whoami", headers=bearer("opaque")))

    @pytest.mark.parametrize(
        "claims",
        [
            {"username": "adam"},
            {"username": "adam", "client_id": CLIENT_ID},
            {"username": "adam", "client_id": CLIENT_ID, "sub": "x"},
            {"username": "adam", "token_type": "Bearer"},
            {"username": "adam", "client_id": "machine", "sub": "machine"},
            {"client_id": "machine"},
        ],
        ids=str,
    )
    def test_a_response_without_audience_is_accepted_by_default(self, client, monkeypatch, claims):
        answer = {"active": True, "groups": ADMINS} | claims
        monkeypatch.setattr("api.auth.bearer.request_json", lambda *_args, **_more: answer)

        who = client.get("/whoami", headers=bearer("opaque")).get_json()
        assert (who["name"], who["roles"]) == (claims.get("username", "machine"), ["ADMIN", "USER"])

    @pytest.mark.parametrize(
        ("claims", "is_good"), [({}, False), ({"aud": CLIENT_ID}, False), ({"aud": "storage"}, True)]
    )
    def test_a_configured_audience_must_be_in_the_response(self, redis_client, monkeypatch, claims, is_good):
        answer = {"active": True, "client_id": CLIENT_ID, "sub": "adam", "groups": []} | claims
        monkeypatch.setattr("api.auth.bearer.request_json", lambda *_args, **_more: answer)
        settings = {"oauth_client_id": CLIENT_ID, "oauth_introspection_url": "https://sso.example.org/introspect"}
        said = build(redis_client, **settings, oauth_audience="storage").test_client()
        assert (said.get("/whoami", headers=bearer("opaque")).status_code == 200) is is_good

    def test_introspection_settings_take_effect(self, redis_client, monkeypatch):
        answer: dict[str, Any] = {"active": True, "nick": "ny", "sub": "x", "groups": [], "exp": time.time() + 30}
        monkeypatch.setattr("api.auth.bearer.request_json", lambda *_args, **_more: answer)
        url = "https://sso.example.org/introspect"
        settings = {"oauth_client_id": CLIENT_ID, "oauth_introspection_url": url, "oauth_name_claim": "nick"}
        client = build(redis_client, **settings, oauth_leeway=0).test_client()
        assert client.get("/whoami", headers=bearer("good")).get_json()["name"] == "ny"
        answer["exp"] -= 40
        assert_refused(client.get("/whoami", headers=bearer("a little late")))
        tolerant = build(redis_client, **settings, oauth_leeway=60).test_client()
        answer["nbf"] = time.time() + 40
        assert tolerant.get("/whoami", headers=bearer("a little late and early")).get_json()["name"] == "ny"
        answer["nbf"] += 40
        assert_refused(tolerant.get("/whoami", headers=bearer("too early")))

    @pytest.mark.parametrize("claims", [{"exp": "soon"}, {"exp": True}, {"nbf": "later"}, {"nbf": None}], ids=str)
    def test_times_that_are_not_numbers_are_ignored(self, client, monkeypatch, claims):
        answer = {"active": True, "sub": "adam", "groups": ADMINS} | claims
        monkeypatch.setattr("api.auth.bearer.request_json", lambda *_args, **_more: answer)
        assert client.get("/whoami", headers=bearer("opaque")).status_code == 200

    @pytest.mark.parametrize("has_keys", [False, True])
    def test_without_keys_jwts_are_introspected_too(self, redis_client, provider, client, has_keys):
        """And what cannot be read, in any case."""
        url = {"oauth_introspection_url": f"{provider.issuer}/introspect"}
        client = with_provider(redis_client, provider, **url).test_client() if has_keys else client
        assert client.get("/whoami", headers=bearer(machine_token(provider))).status_code == 200
        assert_refused(client.get("/whoami", headers=bearer(provider.token(exp=1))))
        assert provider.request_counts["/introspect"] == 2 - has_keys

    def test_expired_and_revoked_tokens_are_refused(self, client, provider):
        for field, value in (("expires_at", time.time() - 3600), ("revoked", True)):
            token = machine_token(provider)
            setattr(provider.tokens[token], field, value)
            assert_refused(client.get("/whoami", headers=bearer(token)))


class TestProviderAway:
    def test_a_provider_that_does_not_answer_is_requested_once(self, client, provider):
        token = provider.token()
        provider.awake.clear()

        for _ in range(3):  # The first waits until its timeout; the others send no request.
            answer = client.get("/conf/me/roles", headers=bearer(token))
            assert (answer.status_code, answer.get_json()["code"]) == (503, "sign-in-unavailable")
            assert answer.headers["Retry-After"] == "5"
        assert sum(provider.request_counts.values()) == 1

    def test_cached_keys_still_verify_tokens(self, client, provider):
        token = provider.token()
        roles_of(client, headers=bearer(token))
        provider.stop()

        assert roles_of(client, headers=bearer(token)) == {"USER"}
        assert_refused(client.get("/conf/me/roles", headers=bearer(provider.token(header={"kid": "new"}))))

    def test_anonymous_requests_do_not_need_the_provider(self, client, provider):
        provider.stop()

        assert roles_of(client) == {"USER"}
