"""Answers that are given again without the application: the same, and only as long as they stand."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from dataclasses import replace
from unittest.mock import Mock

import pytest
import redis
import structlog

from api.auth.recent_sign_ins import RecentSignIns
from api.response_cache import middleware as response_cache
from tests.api.auth.auth_app import bearer, sign_in
from tests.api.auth.session_records import change
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET, provider
from worker.store.metrics import REQUEST_BOUNDS_MS, CounterBuffer
from worker.store.pipelined_reads import PipelinedReads
from worker.store.sign_in_attempts import SignInAttempts

__all__ = ["provider"]

_OWN = {"Age", "Cache-Status", "X-Request-ID"}


def stable(answer):
    return {name: value for name, value in answer.headers.items() if name not in _OWN}


@pytest.mark.parametrize("path", ["volumes", "volumes?limit=3&sort=-name", "export"])
def test_a_repeated_request_is_answered_without_the_application(read_service, path):
    first, again = read_service.get(path), read_service.get(path)
    assert len(read_service.times) == 1
    assert (again.status_code, again.data, stable(again)) == (200, first.data, stable(first))
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert again.headers["Cache-Status"] == "storage-api; hit; ttl=60"
    assert [len(again.headers.getlist(name)) for name in sorted(_OWN)] == [1, 1, 1]
    assert read_service.get(path, X_Request_ID="mine").headers["X-Request-ID"] == "mine"
    assert len(read_service.times) == 1


def test_a_repeated_anonymous_request_is_answered_without_the_application(read_service):
    client = read_service.app.test_client(use_cookies=False)
    answers = [client.get("/v4/dummy/volumes").status_code for _ in range(3)]
    assert (answers, len(read_service.times)) == ([200] * 3, 1)
    # A cookie may be that of a session which begins later.
    answers = [client.get("/v4/dummy/volumes", headers={"Cookie": "sapi_session=none"}).status_code for _ in range(2)]
    assert (answers, len(read_service.times)) == ([200] * 2, 3)


def test_a_repeated_304_is_answered_without_the_application(read_service):
    tag = read_service.get().headers["ETag"]
    answers = [read_service.get(If_None_Match=tag) for _ in range(3)]
    assert [(answer.status_code, answer.data) for answer in answers] == [(304, b"")] * 3
    assert len(read_service.times) == 2


def test_a_response_with_a_cookie_is_not_cached(read_service):
    app = read_service.another_front_end()
    app.after_request(lambda response: response.set_cookie("of", "one browser") or response)
    answers = [read_service.get(app=app) for _ in range(2)]
    assert [answer.headers["Set-Cookie"] for answer in answers] == ['of="one browser"; Path=/'] * 2
    assert len(read_service.times) == 2


def test_an_error_response_is_not_cached(read_service):
    app = read_service.another_front_end()
    statuses = [500, 200]

    @app.after_request
    def change(response):
        response.status_code = statuses.pop(0)
        return response

    assert [read_service.get(app=app).status_code for _ in range(3)] == [500, 200, 200]
    assert len(read_service.times) == 2


def test_a_change_invalidates_the_response_at_once(read_service):
    for number in range(5):
        read_service.get()
        assert f"new{number}" not in read_service.get().text
        read_service.change("POST", f"volumes/new{number}", {"size_total": 2**30})
        assert f"new{number}" in read_service.get().text


def test_the_age_header_grows_until_the_response_is_stale(read_service):
    read_service.get()
    read_service.age("dummy/volumes", 30)
    read_service.get()
    aged = read_service.get().headers
    assert (aged["Age"], aged["Cache-Status"]) == ("30", "storage-api; hit; ttl=30")
    read_service.age("dummy/volumes", 31)
    stale = read_service.get()
    assert stale.headers["Cache-Status"] == "storage-api; hit; ttl=-1"
    assert "Operation-Location" in stale.headers


@pytest.mark.parametrize(("age_s", "times"), [(-30, 2), (30, 1), (61, 2)])
def test_a_response_beyond_its_maximum_age_is_not_served(read_service, monkeypatch, age_s, times):
    """Redis replies the same as before: only the age, at most 60 s and not negative (a clock was set back), differs."""
    mark = response_cache.mark_cacheable

    def mark_older(services, state, *more):
        mark(services, replace(state, as_of_ms=state.as_of_ms - age_s * 1000), *more)

    monkeypatch.setattr(response_cache, "mark_cacheable", mark_older)
    assert [read_service.get().status_code for _ in range(2)] == [200, 200]
    assert len(read_service.times) == times


def test_a_bearer_token_is_checked_for_each_request(read_service, provider, monkeypatch):
    discovery = f"{provider.issuer}/.well-known/openid-configuration"
    client = read_service.another_front_end(
        oauth_discovery_url=discovery, oauth_client_id=CLIENT_ID, oauth_secret_key=CLIENT_SECRET
    ).test_client()
    header = bearer(provider.token())
    answers = [client.get("/v4/dummy/volumes", headers=header).status_code for _ in range(3)]
    assert answers == [200] * 3
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert client.get("/v4/dummy/volumes", headers=header).status_code == 401
    assert len(read_service.times) == 3


@pytest.mark.parametrize("name", ["Authorization", "Accept-Encoding", "Cache-Control"])
def test_another_client_does_not_get_the_response(read_service, name):
    read_service.get()
    read_service.get()
    headers = (
        {"Authorization": "Basic eDp5"}
        if name == "Authorization"
        else {name: "max-age=0" if name == "Cache-Control" else "gzip"}
    )
    client = read_service.app.test_client()
    if name == "Authorization":
        assert client.get("/v4/dummy/volumes", headers=headers).status_code == 401
    else:
        client.get("/v4/dummy/volumes", headers=headers, auth=("admin", "secret"))
        assert len(read_service.times) == 2


@pytest.mark.parametrize(("auth", "valid_s"), [({}, 60), ({"session_idle": 80}, 20), ({"roles_max_age": 10}, 10)])
def test_a_request_with_a_session_reaches_the_application_at_intervals(read_service, monkeypatch, auth, valid_s):
    """It extends the session, and asks which roles the user has by now, also where listings are fresh for hours."""
    client, now_s = read_service.another_front_end(**auth).test_client(), time.monotonic()
    client.get("/login")
    clock = Mock(wraps=time)
    monkeypatch.setattr(response_cache, "time", clock)
    asked = []
    for later_s in (0, valid_s - 1, valid_s + 1):
        clock.monotonic.side_effect = [now_s + later_s] * 9
        assert client.get("/v4/dummy/export").status_code == 200
        asked.append(len(read_service.times))
    assert asked == [1, 1, 2]


@pytest.mark.parametrize("age_s", [290, -290])
def test_roles_of_a_session_are_used_no_longer_than_configured(read_service, provider, monkeypatch, age_s):
    """Of 300 s, 290 were over when the answer was made; or the clock was set back so far since."""
    discovery = f"{provider.issuer}/.well-known/openid-configuration"
    client = read_service.another_front_end(
        debug=False, oauth_discovery_url=discovery, oauth_client_id=CLIENT_ID, oauth_secret_key=CLIENT_SECRET
    ).test_client()
    assert sign_in(client, "adam").status_code == 302
    change(read_service.redis, checked_s=-age_s)
    clock, now_s = Mock(wraps=time), time.monotonic()
    monkeypatch.setattr(response_cache, "time", clock)
    asked = []
    for later_s in (0, 5, 11):
        clock.monotonic.side_effect = [now_s + later_s] * 9
        assert client.get("/v4/dummy/volumes").status_code == 200
        asked.append(len(read_service.times))
    assert asked[1] == asked[0]
    assert asked[2] == asked[0] + 1


def test_after_the_end_of_a_session_nothing_is_served(read_service):
    client = read_service.app.test_client()
    client.get("/login")
    cookie = client.get_cookie("sapi_session")
    assert cookie is not None
    header = {"Cookie": f"sapi_session={cookie.value}"}
    stranger = read_service.app.test_client(use_cookies=False)
    answers = [stranger.get("/v4/dummy/export", headers=header).status_code for _ in range(3)]
    assert (answers, len(read_service.times)) == ([200] * 3, 1)
    for key in read_service.redis.scan_iter("sapi:session:*"):
        read_service.redis.delete(key)
    assert stranger.get("/v4/dummy/export", headers=header).status_code == 401


@pytest.mark.parametrize("address", ["127.0.0.1", None])
def test_every_response_is_audited(read_service, tmp_path, address):
    """Also where the address of the client is unknown."""
    client = read_service.app.test_client()
    client.environ_base["REMOTE_ADDR"] = address
    audit = logging.getLogger("audit")
    handler = logging.FileHandler(tmp_path / "audit")
    audit.addHandler(handler)
    try:
        answers = [client.get("/v4/dummy/volumes", auth=("admin", "secret")) for _ in range(3)]
    finally:
        audit.removeHandler(handler)
        handler.close()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [line["request_id"] for line in lines] == [answer.headers["X-Request-ID"] for answer in answers]
    first, *repeated = [{name: line[name] for name in line.keys() - {"time", "request_id"}} for line in lines]
    assert repeated == [first, first]
    assert (first["target"], first["address"], first["method"]) == ("/v4/dummy/volumes", address, "GET")
    assert (first["allowed"], first["who"], first["status"]) == (True, "admin", 200)


def test_every_response_is_logged(read_service):
    with structlog.testing.capture_logs() as logged:
        ids = [read_service.get().headers["X-Request-ID"] for _ in range(2)]
    lines = [entry for entry in logged if entry["event"] == "request"]
    assert [line["request_id"] for line in lines] == ids
    assert {(line["method"], line["path"], line["status"], line["requested_by"]) for line in lines} == {
        ("GET", "/v4/dummy/volumes", 200, "admin")
    }


def test_every_response_is_counted(read_service, monkeypatch):
    monkeypatch.setattr(CounterBuffer, "flush", lambda _self: None)
    counters = read_service.app.extensions["storage-api-counters"]
    before = Counter(counters._counts)
    tags = [read_service.get().headers["ETag"] for _ in range(3)]
    assert [read_service.get(If_None_Match=tag).status_code for tag in tags] == [304] * 3
    counted, requests = counters._counts - before, "GET /v4/{subsystem}/volumes"
    assert counted[f"http {requests} 2xx"] == counted[f"http {requests} 3xx"] == 3
    assert counted["cache volumes hit"] == 6
    assert sum(counted[f"time {requests} {bound}"] for bound in (*REQUEST_BOUNDS_MS, "inf")) == 6


@pytest.mark.parametrize(("network", "wrong"), [("127.0.0.1/32", 100), ("192.0.2.1/32", 300)])
def test_after_too_many_wrong_passwords_no_response_is_served(read_service, redis_client, monkeypatch, network, wrong):
    # As after a moment, for which the process remembers that the password was right.
    monkeypatch.setattr(RecentSignIns, "counts", lambda *_: None)
    assert [read_service.get().status_code for _ in range(2)] == [200, 200]
    assert len(read_service.times) == 1
    attempts = SignInAttempts(redis_client, "sapi:", per_network=100, per_user=300)
    # From this network the user has not signed in lately.
    redis_client.delete(*redis_client.keys("sapi:attempts:known:*"))
    for _ in range(wrong):
        attempts.record_failure("admin", network)
    assert read_service.get().status_code == 429


# --- what is another request


@pytest.mark.parametrize(
    ("other", "times"),
    [
        ({"headers": {"Prefer": "wait=0"}}, 3), ({"headers": {"Pragma": "x"}}, 3),
        ({"headers": {"Cache-Control": "max-age=60"}}, 3),
        ({"environ_overrides": {"HTTP_TRANSFER_ENCODING": "chunked"}}, 3),
        ({"environ_overrides": {"CONTENT_LENGTH": "2"}}, 3), ({"method": "HEAD"}, 3),
        ({"environ_overrides": {"REMOTE_ADDR": "192.0.2.7"}}, 2),
        ({"environ_overrides": {"wsgi.url_scheme": "https"}}, 2), ({"query_string": "fields=name"}, 2),
    ],
)  # fmt: skip
def test_other_requests_reach_the_application(read_service, other, times):
    """``times``: how often the application was called; responses that depend on time, or to a body, are not cached."""
    read_service.get()
    client = read_service.app.test_client()
    for _ in range(2):
        answer = client.open(**{"path": "/v4/dummy/volumes", "auth": ("admin", "secret"), "method": "GET"} | other)
        assert answer.status_code == 200
    assert len(read_service.times) == times
    if other.get("method") == "HEAD":
        assert answer.data == b""
    # What was kept of the first one stands.
    assert read_service.get().status_code == 200
    assert len(read_service.times) == times


def test_redis_that_is_unavailable_is_tried_once_for_a_request(read_service, monkeypatch):
    read_service.get()
    monkeypatch.setattr(PipelinedReads, "read", Mock(side_effect=redis.TimeoutError("slow")))
    assert (read_service.get().status_code, len(read_service.times)) == (503, 1)
