"""Changes are counted for each user, over all replicas, and go on when Redis does not."""

from __future__ import annotations

import base64
import socket
import threading
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import redis
from limits import parse_many
from limits.storage import RedisStorage

from api.auth.rate_limits import RateLimiter
from tests.api.auth.auth_app import bearer, build, needs, with_provider


def user(name):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:password".encode()).decode()}


def make_client(client, **settings):
    return build(client, basic_auth_username="svc", basic_auth_password="password", **settings).test_client()


def test_too_many_changes_are_refused(redis_client):
    client = make_client(redis_client, rate_limit="9/day;3/hour", role_admin_groups=("a",))
    answers = [client.post("/v4/needs/ADMIN", headers=user("svc")) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["X-RateLimit-Limit"] == "3"
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    refused = answers[3]
    assert (refused.get_json()["code"], refused.get_json()["limit"]) == ("rate-limited", "SAPI_RATE_LIMIT")
    assert 0 < int(refused.headers["Retry-After"]) <= 3601
    assert refused.headers["X-RateLimit-Reset"] == refused.headers["Retry-After"]
    assert "Retry-After" not in answers[0].headers


def test_the_end_of_a_window_is_read_once_in_each(monkeypatch):
    now_s = [1000.0]
    clock = SimpleNamespace(time=lambda: now_s[0], monotonic=time.monotonic)
    monkeypatch.setattr("api.auth.rate_limits.time", clock)
    (rate,) = parse_many("1/minute")
    storage = Mock(incr=Mock(return_value=1), get_expiry=Mock(side_effect=[1060.0, 1120.0]))
    limiter, ends = RateLimiter(storage, [rate]), []
    for passed_s in (0, 59, 2):
        now_s[0] += passed_s
        ends.append(limiter._count(rate, "user:adam")[2])
    assert ends == [1060, 1060, 1120]


def test_the_window_of_a_process_without_redis_is_its_own():
    (rate,) = parse_many("1/minute")
    ends_at = time.time() + 10
    shared = Mock(incr=Mock(side_effect=[1, redis.ConnectionError]), get_expiry=Mock(return_value=ends_at))
    limiter = RateLimiter(shared, [rate])
    assert limiter._count(rate, "user:adam")[2] == ends_at
    assert limiter._count(rate, "user:adam")[2] > ends_at + 40


def test_retry_after_is_at_least_one_second(redis_client, monkeypatch):
    client = make_client(redis_client, rate_limit="1/hour", role_admin_groups=("a",))
    monkeypatch.setattr(RedisStorage, "get_expiry", lambda *_: time.time())
    answers = [client.post("/v4/needs/ADMIN", headers=user("svc")) for _ in range(2)]
    assert (answers[1].status_code, answers[1].headers["Retry-After"]) == (429, "1")


def test_changes_of_both_apis_share_one_count(redis_client):
    app = build(redis_client, rate_limit="2/hour")
    app.add_url_rule("/v3/needs/<role>", endpoint="v3", view_func=needs, methods=["POST"])
    client = app.test_client()
    paths = ("/v3/needs/USER", "/logout", "/v4/none", "/v4/needs/USER", "/v3/needs/USER", "/v4/needs/USER", "/logout")
    assert [client.post(path).status_code for path in paths] == [200, 302, 404, 200, 429, 429, 302]


def test_replicas_share_the_counts(redis_client):
    clients = [make_client(redis_client, rate_limit="3/hour", role_admin_groups=("a",)) for _ in range(2)]
    statuses = [clients[number % 2].post("/v4/needs/ADMIN", headers=user("svc")).status_code for number in range(4)]

    assert statuses == [200, 200, 200, 429]


def test_each_user_is_counted_separately(redis_client):
    client = make_client(redis_client, rate_limit="1/hour", role_admin_groups=("a",))
    client.post("/v4/needs/ADMIN", headers=user("svc"))

    for address in ("10.0.0.1", "10.0.0.2"):
        assert client.post("/v4/needs/USER", environ_base={"REMOTE_ADDR": address}).status_code == 200
        assert client.post("/v4/needs/USER", environ_base={"REMOTE_ADDR": address}).status_code == 429
    # One customer of an internet provider has a whole IPv6 network.
    addresses = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
    answers = [client.post("/v4/needs/USER", environ_base={"REMOTE_ADDR": address}) for address in addresses]
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    forged = {"environ_base": {"REMOTE_ADDR": "10.0.0.1"}, "headers": {"X-Forwarded-For": "10.9.9.9"}}
    assert client.post("/v4/needs/USER", **forged).status_code == 429


def test_users_of_one_name_are_counted_by_their_ids(redis_client, provider):
    client = with_provider(redis_client, provider, rate_limit="1/hour").test_client()

    def status(subject, name):
        token = provider.token(sub=subject, preferred_username=name)
        return client.post("/v4/needs/USER", headers=bearer(token)).status_code

    assert status("id-of-adam", "adam") == 200
    assert status("id-of-bob", "adam") == 200
    assert status("id-of-adam", "renamed") == 429


def test_reads_are_not_counted(redis_client):
    client = make_client(redis_client, rate_limit="1/hour")

    assert {client.get("/v4/needs/USER").status_code for _ in range(5)} == {200}


def test_the_limit_can_be_switched_off(redis_client):
    client = make_client(redis_client, rate_limit="off")

    assert "X-RateLimit-Limit" not in client.post("/v4/needs/USER").headers


@pytest.fixture
def frozen():
    """A server that takes connections and never answers; and how many it took."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield server.getsockname()[1], taken
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()


def test_a_redis_that_does_not_answer_is_tried_once_for_each_limit(frozen):
    port, taken = frozen
    client = make_client(redis.Redis("127.0.0.1", port=port), rate_limit="3/hour", role_admin_groups=("a",))
    statuses = [client.post("/v4/needs/ADMIN", headers=user("svc")).status_code for _ in range(4)]

    assert statuses == [200, 200, 200, 429]
    # One connection counts changes, and one wrong passwords.
    assert len(taken) == 2


def test_without_redis_each_process_counts_alone():
    client = make_client(redis.Redis("127.0.0.1", port=1), rate_limit="1/hour", role_admin_groups=("a",))

    assert client.post("/v4/needs/ADMIN", headers=user("svc")).status_code == 200
    assert client.post("/v4/needs/ADMIN", headers=user("svc")).status_code == 429
