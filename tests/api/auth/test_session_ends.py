"""Sessions end: by idling, in time, and on demand."""

from __future__ import annotations

import time

import pytest
import redis

from tests.api.auth.auth_app import PREFIX, bearer, build, roles_of, sign_in, with_provider
from tests.api.auth.session_records import change, session_keys
from tests.redis_states import too_few_replicas
from worker.store.ended_sessions import FLOWER_LIFETIME_S, ended_digest

EVERY = {"USER", "ADMIN", "UBER_ADMIN"}


@pytest.fixture
def client(redis_client, provider):
    return with_provider(redis_client, provider, role_user_groups=("it db, admins", "uber")).test_client()


class TestTime:
    def test_a_session_that_is_not_used_ends(self, client, redis_client):
        sign_in(client, "adam")
        (key,) = session_keys(redis_client)
        assert 3500 < redis_client.ttl(key) <= 3600

    def test_the_index_of_a_users_sessions_lives_as_long_as_they_may(self, client, redis_client):
        sign_in(client, "adam")
        indexes = redis_client.keys(f"{PREFIX}sessions_of:*")
        assert len(indexes) == 2
        for index in indexes:
            assert 8 * 3600 - 100 < redis_client.ttl(index) <= 8 * 3600
            redis_client.zadd(index, {"a session of long ago": 1.0})
        sign_in(client.application.test_client(), "adam")
        assert {redis_client.zcard(index) for index in indexes} == {2}

    def test_a_session_in_use_is_prolonged(self, redis_client, provider):
        client = with_provider(redis_client, provider).test_client()
        sign_in(client, "adam")
        (key,) = session_keys(redis_client)
        redis_client.expire(key, 100)
        # Another process, which has not cached it.
        other = with_provider(redis_client, provider).test_client()
        cookie = client.get_cookie("sapi_session")
        assert cookie
        other.set_cookie("sapi_session", cookie.value)
        assert roles_of(other) == {"USER", "ADMIN"}
        assert redis_client.ttl(key) > 3500

    def test_a_session_is_accepted_though_redis_refuses_to_prolong_it(self, redis_client, provider, tmp_path):
        client = with_provider(redis_client, provider, session_idle=120).test_client()
        sign_in(client, "adam")
        with too_few_replicas(redis_client, tmp_path):
            assert roles_of(client) == {"USER", "ADMIN"}

    def test_a_session_with_a_short_idle_time_is_prolonged_more_often(self, redis_client, provider, monkeypatch):
        client = with_provider(redis_client, provider, session_idle=60).test_client()
        sign_in(client, "adam")
        roles_of(client)
        (key,) = session_keys(redis_client)
        redis_client.expire(key, 10)
        now_s = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now_s + 16)
        roles_of(client)
        assert redis_client.ttl(key) > 50

    def test_a_session_ends_after_its_lifetime(self, client, redis_client):
        sign_in(client, "adam")
        change(redis_client, began_s=-8 * 3600)
        assert client.get("/whoami").get_json()["auth_method"] == "anonymous"

    @pytest.mark.parametrize("age_s", [0, 301], ids=["as it is", "with new groups"])
    def test_a_session_is_not_prolonged_beyond_its_lifetime(self, redis_client, provider, age_s):
        client = with_provider(redis_client, provider, session_lifetime=600, session_idle=600).test_client()
        sign_in(client, "adam")
        change(redis_client, began_s=-500, checked_s=-age_s)
        assert client.get("/whoami").get_json()["name"] == "adam"
        (key,) = session_keys(redis_client)
        assert redis_client.ttl(key) <= 100
        assert redis_client.exists(key + b":check") == bool(age_s)


class TestOnDemand:
    @pytest.fixture
    def two(self, redis_client, provider):
        app = with_provider(redis_client, provider)
        clients = [app.test_client(), app.test_client()]
        for client in clients:
            sign_in(client, "adam")
        return clients

    @pytest.fixture
    def uber_admin(self, redis_client, provider):
        client = with_provider(redis_client, provider).test_client()
        sign_in(client, "uma")
        return client

    @pytest.mark.parametrize("user", ["adam", "id-of-adam"])
    def test_all_sessions_of_a_user_end(self, two, uber_admin, user, redis_client):
        answer = uber_admin.post(f"/conf/sessions/{user}/end")
        # Flower looks there; as long as one of its sessions may last.
        ended = f"{PREFIX}sessions_ended:{ended_digest(user)}"
        assert abs(int(redis_client.get(ended)) - time.time()) < 60
        assert FLOWER_LIFETIME_S - 60 < redis_client.ttl(ended) <= FLOWER_LIFETIME_S
        assert (answer.status_code, answer.get_json()) == (200, {"ended": 2})
        assert {client.get("/whoami").get_json()["auth_method"] for client in two} == {"anonymous"}
        assert uber_admin.get("/whoami").get_json()["name"] == "uma"
        assert uber_admin.post(f"/conf/sessions/{user}/end").get_json() == {"ended": 0}

    @pytest.mark.usefixtures("two")
    def test_a_session_begun_meanwhile_can_be_ended_later(self, uber_admin, redis_client, provider, monkeypatch):
        third, zrange = with_provider(redis_client, provider).test_client(), redis.Redis.zrange

        def signing_in_after(*arguments):
            monkeypatch.undo()
            listed = zrange(*arguments)
            sign_in(third, "adam")
            return listed

        monkeypatch.setattr(redis.Redis, "zrange", signing_in_after)
        assert uber_admin.post("/conf/sessions/adam/end").get_json() == {"ended": 2}
        assert third.get("/whoami").get_json()["name"] == "adam"
        assert uber_admin.post("/conf/sessions/adam/end").get_json() == {"ended": 1}

    @pytest.mark.usefixtures("two")
    def test_ended_sessions_are_not_counted(self, uber_admin, redis_client):
        (adam, *_) = [key for key in session_keys(redis_client) if b'"name": "adam"' in redis_client.get(key)]
        redis_client.delete(adam)
        assert uber_admin.post("/conf/sessions/adam/end").get_json() == {"ended": 1}

    def test_a_user_whose_sessions_were_ended_may_sign_in_again(self, two, uber_admin):
        uber_admin.post("/conf/sessions/adam/end")
        sign_in(two[0], "adam")
        assert two[0].get("/whoami").get_json()["name"] == "adam"

    def test_only_uber_admin_may_end_sessions_of_others(self, two, redis_client, provider):
        stranger = with_provider(redis_client, provider).test_client()
        assert stranger.post("/conf/sessions/adam/end").status_code == 401
        refused = two[0].post("/conf/sessions/uma/end")
        assert (refused.status_code, refused.get_json()["role"]) == (403, "UBER_ADMIN")

    def test_an_unknown_user_name_is_refused(self, uber_admin):
        for name in ("x" * 256, "a%00b", "a%0Ab"):
            assert uber_admin.post(f"/conf/sessions/{name}/end").status_code == 422
        for name in ("nobody", "x" * 255):
            assert uber_admin.post(f"/conf/sessions/{name}/end").get_json() == {"ended": 0}
        assert uber_admin.post("/conf/sessions/adam/end?all=1").status_code == 422

    def test_sessions_by_password_end_too(self, redis_client, provider, uber_admin):
        settings = {"basic_auth_username": "svc", "basic_auth_password": "pass"}
        client = build(redis_client, **settings).test_client()
        client.get("/login_basic", headers={"Authorization": "Basic c3ZjOnBhc3M="})
        assert uber_admin.post("/conf/sessions/svc/end").get_json() == {"ended": 1}
        assert client.get("/whoami").get_json()["auth_method"] == "anonymous"


def test_a_session_and_a_token_of_one_user_own_the_same_jobs(client, provider):
    sign_in(client, "adam")
    token = bearer(provider.token(sub="id-of-adam", preferred_username="another name"))
    assert client.get("/owner").text == client.get("/owner", headers=token).text == f"{provider.issuer} id-of-adam"


@pytest.mark.parametrize(
    ("settings", "path"),
    [({"basic_auth_username": "svc", "basic_auth_password": "pass"}, "/login_basic"), ({"debug": True}, "/login")],
    ids=["by password", "in debug mode"],
)
def test_a_session_by_password_or_debug_mode_is_not_checked_with_the_provider(redis_client, provider, settings, path):
    client = with_provider(redis_client, provider, **settings).test_client()
    client.get(path, headers={"Authorization": "Basic c3ZjOnBhc3M="} if "basic" in path else {})
    change(redis_client, checked_s=-301)
    assert roles_of(client) == EVERY


def test_a_session_stays_valid_when_no_provider_is_configured(client, redis_client):
    sign_in(client, "adam")
    other = build(redis_client, role_admin_groups=("it db, admins",)).test_client()
    cookie = client.get_cookie("sapi_session")
    assert cookie
    other.set_cookie("sapi_session", cookie.value)
    assert roles_of(other) == {"USER", "ADMIN"}
