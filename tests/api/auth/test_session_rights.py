"""Rights of a session are never older than they may be."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import pytest
import redis

from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderRefused, ProviderUnavailable
from api.auth.services import EXTENSION
from api.auth.sessions import _open
from tests.api.auth.auth_app import callback_of, code_of, roles_of, sign_in, with_provider
from tests.api.auth.session_records import change, session_keys
from tests.identity_provider.directory import Token
from tests.identity_provider.fixtures import CLIENT_ID
from tests.redis_states import read_only


def sealed_in(client: redis.Redis) -> dict[bytes, str]:
    """The encrypted tokens of each session."""
    return {key: json.loads(client.get(key) or "")["sealed_tokens"] for key in session_keys(client)}


@pytest.fixture
def client(redis_client, provider):
    return with_provider(redis_client, provider, role_user_groups=("it db, admins", "uber")).test_client()


class TestGroups:
    def test_are_refreshed_when_they_are_old(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.users["adam"].groups = ["uber"]
        assert roles_of(client) == {"USER", "ADMIN"}
        change(redis_client, checked_s=-301, began_s=-400)
        (key,) = session_keys(redis_client)
        began_s = json.loads(redis_client.get(key))["began_s"]
        assert roles_of(client) == {"USER", "UBER_ADMIN"}
        # One must sign in again as long after the sign-in as before.
        assert json.loads(redis_client.get(key))["began_s"] == began_s
        request_count = provider.request_counts["/token"]
        # Also when no other request does at this moment.
        assert 0 < redis_client.ttl(key + b":check") <= 10
        assert 3500 < redis_client.ttl(key) <= 3600
        change(redis_client)
        assert roles_of(client) == {"USER", "UBER_ADMIN"}
        assert provider.request_counts["/token"] == request_count

    # Below 0: the clock was set back since, or another process's clock is ahead.
    @pytest.mark.parametrize(
        ("age_s", "roles"),
        [
            (50, {"USER", "ADMIN"}),
            (61, {"USER", "UBER_ADMIN"}),
            (-50, {"USER", "ADMIN"}),
            (-3600, {"USER", "UBER_ADMIN"}),
        ],
    )
    def test_may_be_as_old_as_is_configured(self, redis_client, provider, age_s, roles):
        client = with_provider(redis_client, provider, roles_max_age=60).test_client()
        sign_in(client, "adam")
        provider.users["adam"].groups = ["uber"]
        change(redis_client, checked_s=-age_s)
        assert roles_of(client) == roles

    def test_that_were_removed_remove_their_roles(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.users["adam"].groups = []
        change(redis_client, checked_s=-301)
        assert roles_of(client) == set()
        assert client.get("/whoami").get_json()["name"] == "adam"

    def test_are_refreshed_by_one_request_at_a_time(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.users["adam"].groups = ["uber"]
        change(redis_client, checked_s=-301)
        (key,) = session_keys(redis_client)
        redis_client.set(key + b":check", "1")
        assert roles_of(client) == {"USER", "ADMIN"}

    def test_refreshed_for_a_session_that_ended_do_not_restore_it(self, client, provider, redis_client, monkeypatch):
        sign_in(client, "adam")
        change(redis_client, checked_s=-301)
        claims = Token.claims

        def end_and_answer(token: Token) -> dict[str, Any]:
            redis_client.delete(*session_keys(redis_client))
            return claims(token)

        monkeypatch.setattr(Token, "claims", end_and_answer)
        roles_of(client)
        assert session_keys(redis_client) == []

    def test_are_refreshed_each_time_they_are_old(self, client, provider, redis_client):
        sign_in(client, "adam")
        for groups, roles in ((["uber"], {"UBER_ADMIN"}), ([], set()), (["it db, admins"], {"ADMIN"})):
            provider.users["adam"].groups = groups
            change(redis_client, checked_s=-301)
            assert roles_of(client) - {"USER"} == roles

    def test_are_requested_where_there_is_no_refresh_token(self, client, provider, redis_client):
        provider.opaque = True
        sign_in(client, "adam")
        assert not provider.refresh_tokens
        provider.users["adam"].groups = ["uber"]
        change(redis_client, checked_s=-301)
        assert roles_of(client) == {"USER", "UBER_ADMIN"}

    def test_missing_from_the_provider_end_the_session(self, client, provider, redis_client, monkeypatch):
        """No answer is not the answer that there are none."""
        provider.opaque = True
        sign_in(client, "adam")
        monkeypatch.setattr("api.auth.provider.IdentityProvider.ask_userinfo", lambda *_: {"sub": "id-of-adam"})
        change(redis_client, checked_s=-301)
        assert client.get("/whoami").get_json()["auth_method"] == "anonymous"
        assert session_keys(redis_client) == []

    def test_are_the_known_ones_while_the_provider_is_away(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.stop()
        change(redis_client, checked_s=-301)
        assert roles_of(client) == {"USER", "ADMIN"}

    def test_are_the_known_ones_while_the_provider_refuses_this_service(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.clients[CLIENT_ID].secret = "rotated"
        change(redis_client, checked_s=-301)
        assert roles_of(client) == {"USER", "ADMIN"}
        assert len(session_keys(redis_client)) == 1

    def test_a_new_refresh_token_is_stored_although_the_groups_cannot_be_read(
        self, client, provider, redis_client, monkeypatch
    ):
        """A provider that replaces refresh tokens takes the one of before no more, and ends the session for it."""
        sign_in(client, "adam")
        given: list[str] = []

        def refresh(_provider: IdentityProvider, refresh_token: str) -> dict[str, Any]:
            if refresh_token != (given or [*provider.refresh_tokens])[-1]:
                raise ProviderRefused("reused", "invalid_grant")
            given.append(f"number {len(given)}")
            return {"access_token": "new", "refresh_token": given[-1]}

        userinfo = Mock(side_effect=[ProviderUnavailable("status 503"), {"sub": "id-of-adam", "groups": ["uber"]}])
        monkeypatch.setattr(IdentityProvider, "refresh", refresh)
        monkeypatch.setattr(IdentityProvider, "ask_userinfo", userinfo)
        for roles in ({"USER", "ADMIN"}, {"USER", "UBER_ADMIN"}):
            change(redis_client, checked_s=-301)
            redis_client.delete(*(key + b":check" for key in session_keys(redis_client)))
            assert roles_of(client) == roles
        assert given == ["number 0", "number 1"]

    @pytest.mark.parametrize(("error", "roles"), [(None, {"USER", "ADMIN"}), ("invalid_grant", set())])
    def test_stay_where_a_proxy_answers_404_for_the_provider(self, client, redis_client, monkeypatch, error, roles):
        """It says 404, but not in the words of OAuth2."""
        sign_in(client, "adam")
        monkeypatch.setattr("api.auth.provider.request_json", Mock(side_effect=ProviderRefused("status 404", error)))
        change(redis_client, checked_s=-301)
        assert roles_of(client) == roles

    def test_refused_with_the_refresh_token_end_the_session(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.refresh_tokens.clear()
        change(redis_client, checked_s=-301)
        assert client.get("/whoami").get_json()["auth_method"] == "anonymous"
        assert session_keys(redis_client) == []

    def test_of_another_user_end_the_session(self, client, provider, redis_client):
        sign_in(client, "adam")
        for token in provider.refresh_tokens.values():
            token.user = provider.users["uma"]
        change(redis_client, checked_s=-301)
        assert client.get("/whoami").get_json()["auth_method"] == "anonymous"

    def test_of_a_groups_url_are_refreshed_too(self, redis_client, provider):
        urls = {"oauth_groups_url": f"{provider.issuer}/groups"}
        client = with_provider(redis_client, provider, **urls).test_client()
        provider.hidden_claims = {"groups"}
        sign_in(client, "adam")
        provider.users["adam"].groups = ["uber"]
        change(redis_client, checked_s=-301)
        assert roles_of(client) == {"USER", "UBER_ADMIN"}
        assert (provider.request_counts["/groups"], provider.request_counts["/userinfo"]) == (2, 0)

    def test_that_cannot_be_stored_do_not_count(self, client, provider, redis_client, monkeypatch):
        """The next request could not refresh them: the provider may have replaced the refresh token."""
        sign_in(client, "adam")
        change(redis_client, checked_s=-301)
        sessions = client.application.extensions[EXTENSION].sessions
        monkeypatch.setattr(sessions._redis, "set", Mock(side_effect=[True, redis.ConnectionError("gone")]))
        assert code_of(client.get("/whoami")) == (503, "queue-unavailable")


class TestNewTokens:
    """A provider may send an ID token with them, and may leave the refresh token as it was (RFC 6749, section 6)."""

    @pytest.fixture
    def refresh(self, client, redis_client, monkeypatch):
        """Signs in, and refreshes with such an answer and such a user info; returns who that is afterwards."""
        sign_in(client, "adam")

        def refresh(userinfo: Mock, **tokens: str) -> Any:
            monkeypatch.setattr(IdentityProvider, "refresh", lambda *_: {"access_token": "new"} | tokens)
            monkeypatch.setattr(IdentityProvider, "ask_userinfo", userinfo)
            change(redis_client, checked_s=-301)
            return client.get("/whoami").get_json()

        return refresh

    def test_an_id_token_goes_before_the_user_info(self, refresh, provider):
        userinfo = Mock(return_value={"sub": "id-of-adam", "groups": ["it db, admins"]})
        id_token = provider.token(sub="id-of-adam", groups=["uber"])
        assert refresh(userinfo, id_token=id_token)["roles"] == ["UBER_ADMIN", "USER"]

    def test_an_id_token_without_groups_says_that_there_are_none(self, refresh, provider):
        userinfo = Mock(return_value={"sub": "id-of-adam"})
        id_token = provider.token(sub="id-of-adam", groups=None)
        assert refresh(userinfo, id_token=id_token) == {"name": "adam", "roles": [], "auth_method": "session"}

    @pytest.mark.parametrize(
        ("userinfo", "claims"),
        [
            (Mock(return_value={"sub": "id-of-adam"}), {"sub": "id-of-uma"}),
            (Mock(return_value={"sub": "id-of-adam"}), {"sub": "id-of-adam", "exp": 1}),
            (Mock(side_effect=ProviderRefused), {"sub": "id-of-adam"}),
            (Mock(return_value={"sub": "id-of-uma", "groups": ["uber"]}), {"sub": "id-of-adam", "groups": None}),
        ],
        ids=["of somebody else", "expired", "user info is refused", "user info of somebody else"],
    )
    def test_tokens_that_do_not_match_the_session_end_it(self, refresh, provider, userinfo, claims):
        id_token = provider.token(**({"groups": ["it db, admins"]} | claims))
        assert refresh(userinfo, id_token=id_token)["auth_method"] == "anonymous"

    def test_the_new_refresh_token_is_stored(self, refresh, client, provider, redis_client):
        userinfo = Mock(return_value={"sub": "id-of-adam"})
        (refresh_token,) = provider.refresh_tokens
        for tokens, stored in (({}, refresh_token), ({"refresh_token": "the next"}, "the next")):
            refresh(userinfo, id_token=provider.token(sub="id-of-adam"), **tokens)
            with client.session_transaction() as session:
                session_id = session["id"]
            (sealed,) = sealed_in(redis_client).values()
            assert _open(session_id, sealed) == {"access_token": "new", "refresh_token": stored}


def test_redis_holds_no_token_that_works(client, provider, redis_client):
    sign_in(client, "adam")
    (kept,) = [redis_client.get(key).decode() for key in session_keys(redis_client)]
    assert "sealed_tokens" in kept
    assert not [token for token in (*provider.tokens, *provider.refresh_tokens) if token in kept]


def test_the_tokens_of_a_session_cannot_be_opened_with_another_ones_cookie(client, provider, redis_client):
    sign_in(client, "adam")
    sign_in(client.application.test_client(), "adam")
    sealed = sealed_in(redis_client)
    for key, tokens in zip(sealed, reversed(sealed.values()), strict=True):
        redis_client.set(key, json.dumps(json.loads(redis_client.get(key) or "") | {"sealed_tokens": tokens}))
    change(redis_client, checked_s=-301)
    request_counts = dict(provider.request_counts)
    assert client.get("/whoami").get_json()["auth_method"] == "anonymous"
    # There is nothing to ask with.
    assert provider.request_counts == request_counts


def test_every_change_of_a_session_reports_a_redis_that_refuses_writes(client, redis_client, tmp_path):
    sign_in(client, "uma")
    link = callback_of(client, "adam")
    with read_only(redis_client, tmp_path):
        answers = [client.get(link), client.post("/conf/sessions/adam/end"), client.get("/logout")]
    change(redis_client, checked_s=-301)
    with read_only(redis_client, tmp_path):
        answers.append(client.get("/whoami"))
    assert [(answer.status_code, answer.get_json()["code"]) for answer in answers] == [(503, "queue-unavailable")] * 4
    # The provider's answer was not used.
    assert client.get(link).status_code == 302
