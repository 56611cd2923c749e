"""Sessions are valid on every replica and across restarts, end when they should, and cannot be forged or stolen."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from unittest.mock import Mock

import pytest
import redis
from itsdangerous import SignatureExpired
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry
from werkzeug.http import parse_date

from api.auth import session_cookies
from api.auth.services import EXTENSION
from tests.api.auth.auth_app import PREFIX, SECRET_KEY, build, roles_of
from tests.redis_states import memory_full

COOKIE = "sapi_session"
EVERY = {"USER", "ADMIN", "UBER_ADMIN"}


@pytest.fixture
def client(redis_client):
    return build(redis_client, debug=True).test_client()


def copied(client, app, name=COOKIE):
    other = app.test_client()
    other.set_cookie(name, client.get_cookie(name).value)
    return other


def test_the_cookie_is_for_this_service_alone(client):
    cookie = client.get("/login").headers["Set-Cookie"]

    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert "Expires=" in cookie
    assert "Secure" not in cookie


def test_the_cookie_lives_as_long_as_the_session_and_is_sent_once(redis_client):
    client = build(redis_client, debug=True, session_lifetime=7200).test_client()
    cookie = client.get("/login").headers["Set-Cookie"]
    expires = parse_date(cookie.partition("Expires=")[2].partition(";")[0])

    assert expires is not None
    assert 7100 < expires.timestamp() - time.time() <= 7200
    assert "Set-Cookie" not in client.get("/whoami").headers


def test_behind_tls_the_cookie_is_secure(redis_client):
    client = build(redis_client, debug=True, trusted_networks=("127.0.0.0/8",)).test_client()
    headers = {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"}

    cookie = client.get("/login", headers=headers).headers["Set-Cookie"]

    assert cookie.startswith("__Host-sapi_session=")
    assert "; Secure" in cookie


def test_the_cookie_is_secure_where_that_is_set(redis_client):
    client = build(redis_client, debug=True, session_secure=True).test_client()

    cookie = client.get("/login").headers["Set-Cookie"]

    assert cookie.startswith("__Host-sapi_session=")
    assert "; Secure" in cookie


def test_a_forged_scheme_is_not_believed(client):
    cookie = client.get("/login", headers={"X-Forwarded-Proto": "https"}, environ_base={"REMOTE_ADDR": "10.0.0.1"})

    assert "Secure" not in cookie.headers.get("Set-Cookie", "")


def test_another_replica_knows_the_session(client, redis_client):
    client.get("/login")

    assert roles_of(copied(client, build(redis_client, debug=True))) == EVERY


@pytest.mark.parametrize(("ahead_s", "roles"), [(30, EVERY), (90, {"USER"})])
def test_clocks_may_differ_a_little(client, redis_client, monkeypatch, ahead_s, roles):
    now = time.time()
    with monkeypatch.context() as fast:
        fast.setattr(time, "time", lambda: now + ahead_s)
        client.get("/login")

    assert roles_of(copied(client, build(redis_client, debug=True))) == roles


def test_signing_out_ends_the_session_for_copies_of_the_cookie(client, redis_client):
    client.get("/login")
    copy = copied(client, build(redis_client, debug=True))
    assert roles_of(copy) == EVERY

    client.get("/logout")

    assert roles_of(copy) == {"USER"}
    assert client.get_cookie(COOKIE) is None


def test_a_secret_key_is_replaced_without_ending_sessions(client, redis_client):
    client.get("/login")
    new = "another secret key, the next one"

    assert roles_of(copied(client, build(redis_client, debug=True, secret_key=new))) == {"USER"}
    rotated = build(redis_client, debug=True, secret_key=new, secret_key_fallbacks="an_older_one_than_that")
    assert roles_of(copied(client, rotated)) == {"USER"}
    rotated = build(redis_client, debug=True, secret_key=new, secret_key_fallbacks=(SECRET_KEY,))
    assert roles_of(copied(client, rotated)) == EVERY


def test_a_cookie_with_one_bit_changed_is_refused(client, redis_client):
    client.get("/login")
    value = client.get_cookie(COOKIE).value
    client.set_cookie(COOKIE, ("f" if value[0] == "e" else "e") + value[1:])

    assert roles_of(client) == {"USER"}


def test_signing_in_changes_the_session_id(client):
    client.get("/login")
    planted = client.get_cookie(COOKIE).value
    browser = client
    browser.get("/login")

    assert browser.get_cookie(COOKIE).value != planted
    attacker = client.application.test_client()
    attacker.set_cookie(COOKIE, planted)
    assert roles_of(attacker) == {"USER"}


def test_a_session_in_use_is_not_prolonged_beyond_its_lifetime(redis_client):
    """Answers that are repeated for it ask only whether its key is there."""
    client = build(redis_client, debug=True, session_lifetime=600, session_idle=300).test_client()
    client.get("/login")
    (key,) = redis_client.keys(f"{PREFIX}session:*")
    began = json.loads(redis_client.get(key))
    redis_client.set(key, json.dumps(began | {"began_s": time.time() - 500}), ex=300)
    assert roles_of(client) == EVERY
    assert 0 < redis_client.ttl(key) <= 100


def test_use_is_written_now_and_then_and_for_some_sessions_at_a_time(client, redis_client, monkeypatch):
    """Each request would write otherwise, and a process would remember every session that there ever was."""
    monkeypatch.setattr("api.auth.sessions._MOST_TOUCHED", 2)
    sessions = client.application.extensions[EXTENSION].sessions
    prolonged = Mock(wraps=sessions._redis.expire)
    monkeypatch.setattr(sessions._redis, "expire", prolonged)
    for count in (1, 2, 1):
        client.get("/login")
        assert [roles_of(client) for _ in range(2)] == [EVERY, EVERY]
        assert len(sessions._touched_at) == count
    assert prolonged.call_count == 3


def test_sessions_begin_and_end_in_one_step(client, monkeypatch):
    """A process that is killed between two would leave a session that is not in the index."""
    steps, execute = [], Pipeline.execute

    def watched(pipe, *arguments):
        if "session" in str(pipe.command_stack):
            steps.append((pipe.transaction, [command[0][0] for command in pipe.command_stack]))
        return execute(pipe, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Pipeline, "execute", watched)
        client.get("/login")
        client.post("/conf/sessions/developer/end")
    assert steps == [(True, ["SET", "ZREMRANGEBYSCORE", "ZADD", "EXPIRE"]), (True, ["SET", "ZREM", "DEL"])]


def test_a_session_of_a_version_that_stored_no_times_begins_now(client, redis_client):
    client.get("/login")
    (key,) = redis_client.keys(f"{PREFIX}session:*")
    stored = json.loads(redis_client.get(key))
    redis_client.set(key, json.dumps({name: stored[name] for name in ("identity", "debug", "basic")}), ex=300)
    assert roles_of(client) == EVERY


def test_sessions_are_limited_in_time(redis_client):
    client = build(redis_client, debug=True, session_lifetime=60).test_client()
    client.get("/login")

    (key,) = redis_client.keys(f"{PREFIX}session:*")
    assert 0 < redis_client.ttl(key) <= 60
    redis_client.delete(key)  # as Redis does when the time is over
    assert roles_of(client) == {"USER"}


def test_a_cookie_cannot_be_made_from_what_redis_holds(client, redis_client):
    client.get("/login")

    with client.session_transaction() as session:
        session_id = session["id"]
    names = b" ".join(redis_client.keys("*"))
    # Of another type are the counts that applications of other tests, which live on, write now and then.
    texts = b" ".join(redis_client.get(key) or b"" for key in redis_client.scan_iter(_type="string"))
    assert session_id.encode() not in names + texts


def test_a_session_that_cannot_begin_leaves_the_present_one_and_reports_the_reason(client, redis_client, tmp_path):
    assert client.get("/login").status_code == 302
    with memory_full(redis_client, tmp_path):
        answer = client.get("/login")
        assert (answer.status_code, answer.get_json()["code"]) == (503, "queue-unavailable")
        assert "its memory is full" in answer.get_json()["detail"]
        assert roles_of(client) == EVERY
    assert client.get("/login").status_code == 302
    assert (roles_of(client), len(redis_client.keys(f"{PREFIX}session:*"))) == (EVERY, 1)


class TestWithoutRedis:
    @pytest.fixture
    def client(self):
        nowhere = redis.Redis("127.0.0.1", port=1, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0))
        return build(nowhere, debug=True).test_client()

    def test_anonymous_requests_and_probes_are_served(self, client):
        assert client.get("/healthz").status_code == 200
        assert roles_of(client) == {"USER"}

    def test_requests_with_a_session_get_503(self, client):
        assert client.get("/login").status_code == 503
        with client.session_transaction() as session:
            session["id"] = "x"
        for path in ("/conf/me/roles", "/logout"):
            answer = client.get(path)
            assert (answer.status_code, answer.get_json()["code"]) == (503, "queue-unavailable")
            assert answer.headers["Retry-After"] == "2"
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(("age_s", "is_good"), [(-70, False), (-50, True), (0, True), (99, True), (102, False)])
def test_a_signature_holds_as_long_as_a_session_whatever_the_clocks_of_other_hosts(monkeypatch, age_s, is_good):
    signer = session_cookies._SkewTolerantSigner("secret")
    signed, now_s = signer.sign("value"), int(time.time())
    monkeypatch.setattr(signer, "get_timestamp", lambda: now_s + age_s)
    with nullcontext() if is_good else pytest.raises(SignatureExpired):
        assert signer.unsign(signed, max_age=100) == b"value"


def test_a_signature_without_a_limit_holds():
    """As the base class, whose place it takes, has it."""
    signer = session_cookies._SkewTolerantSigner("secret")
    assert signer.unsign(signer.sign("value")) == b"value"
