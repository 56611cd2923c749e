"""Rights of a session are never older than they may be, and sessions end: by idling, in time, and on demand."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from tests.api.auth.house import PREFIX, build, roles_of, sign_in, with_provider

EVERY = {"USER", "ADMIN", "UBER_ADMIN"}


def session_keys(client: redis.Redis) -> list[bytes]:
    return [key for key in client.scan_iter(f"{PREFIX}session:*") if not key.endswith(b":check")]


def change(client: redis.Redis, **fields: Any) -> None:
    """Change what is kept of every session, as time would."""
    for key in session_keys(client):
        kept = json.loads(client.get(key) or "")
        client.set(key, json.dumps(kept | {name: kept[name] + value for name, value in fields.items()}), keepttl=True)
        client.delete(key + b":check")


@pytest.fixture
def client(redis_client, provider):
    return with_provider(redis_client, provider, role_user_groups=("it db, admins", "uber")).test_client()


class TestGroups:
    def test_are_asked_for_anew_when_they_are_old(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.users["adam"].groups = ["uber"]
        assert roles_of(client) == {"USER", "ADMIN"}
        change(redis_client, checked_s=-301)
        assert roles_of(client) == {"USER", "UBER_ADMIN"}
        request_count = provider.request_counts["/token"]
        assert roles_of(client) == {"USER", "UBER_ADMIN"}
        assert provider.request_counts["/token"] == request_count

    def test_that_were_taken_away_take_every_right_with_them(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.users["adam"].groups = []
        change(redis_client, checked_s=-301)
        assert roles_of(client) == set()
        assert client.get("/whoami").get_json()["name"] == "adam"

    def test_are_asked_for_again_and_again(self, client, provider, redis_client):
        sign_in(client, "adam")
        for groups, roles in ((["uber"], {"UBER_ADMIN"}), ([], set()), (["it db, admins"], {"ADMIN"})):
            provider.users["adam"].groups = groups
            change(redis_client, checked_s=-301)
            assert roles_of(client) - {"USER"} == roles

    def test_are_asked_for_where_there_is_no_refresh_token(self, client, provider, redis_client):
        provider.opaque = True
        sign_in(client, "adam")
        assert not provider.refresh_tokens
        provider.users["adam"].groups = ["uber"]
        change(redis_client, checked_s=-301)
        assert roles_of(client) == {"USER", "UBER_ADMIN"}

    def test_are_the_known_ones_while_the_provider_is_away(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.stop()
        change(redis_client, checked_s=-301)
        assert roles_of(client) == {"USER", "ADMIN"}

    def test_of_one_who_may_not_sign_in_any_more_end_the_session(self, client, provider, redis_client):
        sign_in(client, "adam")
        provider.refresh_tokens.clear()
        change(redis_client, checked_s=-301)
        assert client.get("/whoami").get_json()["auth_method"] == "anonymous"
        assert session_keys(redis_client) == []

    def test_of_somebody_else_are_not_taken_over(self, client, provider, redis_client):
        sign_in(client, "adam")
        for token in provider.refresh_tokens.values():
            token.user = provider.users["uma"]
        change(redis_client, checked_s=-301)
        assert client.get("/whoami").get_json()["auth_method"] == "anonymous"

    def test_of_a_groups_url_are_asked_for_too(self, redis_client, provider):
        urls = {"oauth_groups_url": f"{provider.issuer}/groups"}
        client = with_provider(redis_client, provider, **urls).test_client()
        sign_in(client, "adam")
        provider.users["adam"].groups = ["uber"]
        change(redis_client, checked_s=-301)
        assert roles_of(client) == {"USER", "UBER_ADMIN"}


def test_redis_holds_no_token_that_works(client, provider, redis_client):
    sign_in(client, "adam")
    (kept,) = [redis_client.get(key).decode() for key in session_keys(redis_client)]
    assert "sealed_tokens" in kept
    assert not [token for token in (*provider.tokens, *provider.refresh_tokens) if token in kept]


class TestTime:
    def test_a_session_that_is_not_used_ends(self, client, redis_client):
        sign_in(client, "adam")
        (key,) = session_keys(redis_client)
        assert 3500 < redis_client.ttl(key) <= 3600

    def test_one_that_is_used_goes_on(self, redis_client, provider):
        client = with_provider(redis_client, provider).test_client()
        sign_in(client, "adam")
        (key,) = session_keys(redis_client)
        redis_client.expire(key, 100)
        # Another process, which has not seen it lately.
        other = with_provider(redis_client, provider).test_client()
        cookie = client.get_cookie("sapi_session")
        assert cookie
        other.set_cookie("sapi_session", cookie.value)
        assert roles_of(other) == {"USER", "ADMIN"}
        assert redis_client.ttl(key) > 3500

    def test_but_not_for_ever(self, client, redis_client):
        sign_in(client, "adam")
        change(redis_client, began_s=-8 * 3600)
        assert client.get("/whoami").get_json()["auth_method"] == "anonymous"

    def test_and_near_its_end_not_beyond_it(self, redis_client, provider):
        client = with_provider(redis_client, provider, session_lifetime=600, session_idle=600).test_client()
        sign_in(client, "adam")
        change(redis_client, began_s=-500)
        assert client.get("/whoami").get_json()["name"] == "adam"
        (key,) = session_keys(redis_client)
        assert redis_client.ttl(key) <= 100


class TestOnDemand:
    @pytest.fixture
    def two(self, redis_client, provider):
        app = with_provider(redis_client, provider)
        clients = [app.test_client(), app.test_client()]
        for client in clients:
            sign_in(client, "adam")
        return clients

    @pytest.fixture
    def boss(self, redis_client, provider):
        client = with_provider(redis_client, provider).test_client()
        sign_in(client, "uma")
        return client

    @pytest.mark.parametrize("user", ["adam", "id-of-adam"])
    def test_all_sessions_of_a_user_end(self, two, boss, user):
        answer = boss.post(f"/conf/sessions/{user}/end")
        assert (answer.status_code, answer.get_json()) == (200, {"ended": 2})
        assert {client.get("/whoami").get_json()["auth_method"] for client in two} == {"anonymous"}
        assert boss.get("/whoami").get_json()["name"] == "uma"
        assert boss.post(f"/conf/sessions/{user}/end").get_json() == {"ended": 0}

    def test_they_may_sign_in_again(self, two, boss):
        boss.post("/conf/sessions/adam/end")
        sign_in(two[0], "adam")
        assert two[0].get("/whoami").get_json()["name"] == "adam"

    def test_nobody_else_may_end_them(self, two, redis_client, provider):
        stranger = with_provider(redis_client, provider).test_client()
        assert stranger.post("/conf/sessions/adam/end").status_code == 401
        refused = two[0].post("/conf/sessions/uma/end")
        assert (refused.status_code, refused.get_json()["role"]) == (403, "UBER_ADMIN")

    def test_a_name_that_nobody_has_is_refused(self, boss):
        assert boss.post(f"/conf/sessions/{'x' * 256}/end").status_code == 422
        assert boss.post("/conf/sessions/nobody/end").get_json() == {"ended": 0}

    def test_so_do_those_by_password(self, redis_client, provider, boss):
        settings = {"basic_auth_username": "svc", "basic_auth_password": "pass"}
        client = build(redis_client, **settings).test_client()
        client.get("/login_basic", headers={"Authorization": "Basic c3ZjOnBhc3M="})
        assert boss.post("/conf/sessions/svc/end").get_json() == {"ended": 1}
        assert client.get("/whoami").get_json()["auth_method"] == "anonymous"
