"""What is checked of each request to Flower, and whom the sign-in limits count."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import tornado.web

from tests.worker.flower.requests_to_flower import request_with
from worker.config.settings import Settings, load
from worker.flower.access import FlowerAccess, cookie_of
from worker.flower.auth import guard
from worker.flower.settings import FlowerSettings
from worker.store.ended_sessions import ended_digest


@pytest.fixture
def checks(redis_url: str, audit: Path) -> Any:
    """Make what checks requests, with these settings."""

    def make(url: str = redis_url, broker_url: str = "", **settings: Any) -> FlowerAccess:
        queue = load(Settings, redis_url=url, broker_url=broker_url)
        return FlowerAccess(load(FlowerSettings, audit_log=str(audit), **settings), queue)

    return make


def test_without_redis_no_session_is_accepted(checks: Any):
    with pytest.raises(tornado.web.HTTPError) as caught:
        checks("redis://127.0.0.1:1/0").has_ended(cookie_of("adam", "id"))
    assert caught.value.status_code == 503


def test_an_end_of_sessions_counts_by_name_and_subject_and_for_cookies_of_no_time(checks: Any, redis_client: Any):
    flower = checks()
    for user in ("a&dam", "id of adam"):
        assert not flower.has_ended(cookie_of("a&dam", "id of adam"))
        redis_client.set(f"sapi:sessions_ended:{ended_digest(user)}", int(time.time()) + 1)
        assert flower.has_ended(cookie_of("a&dam", "id of adam"))
        assert flower.has_ended(f"{quote(user)}@storage-api")
        redis_client.flushdb()


def test_client_addresses_come_from_trusted_proxies(checks: Any, audit: Path):
    flower = checks(trusted_networks=("10.0.0.0/8",), trusted_proxies=1)
    through = {"X-Forwarded-For": "192.0.2.9, 10.1.1.1"}
    for sent in ({}, {"Authorization": "Basic YTpi"}):
        flower.note(request_with("/tasks", through | sent), "access", allowed=False)
    lines = [json.loads(text) for text in audit.read_text().splitlines()]
    assert [(line["address"], line["target"], line["auth_method"]) for line in lines] == [
        ("10.1.1.1", "flower/tasks", "session"), ("10.1.1.1", "flower/tasks", "basic"),
    ]  # fmt: skip


def test_whether_browsers_use_tls(checks: Any):
    assert not checks().is_secure(request_with("/"))
    assert checks().is_secure(request_with("/", protocol="https"))
    assert checks(flower_url="https://flower.example").is_secure(request_with("/"))
    assert not checks(flower_url="http://flower.example").is_secure(request_with("/", protocol="https"))


@pytest.mark.parametrize(
    ("limits", "credentials"),
    [
        ({"sign_in_network_limit": 2, "sign_in_user_limit": 100}, "Basic a"),
        ({"sign_in_network_limit": 100, "sign_in_user_limit": 2}, "Basic YTpi"),
    ],
)
def test_limits_are_separate_and_malformed_credentials_are_refused(
    checks: Any, limits: dict[str, int], credentials: str
):
    flower = checks(**limits)
    request = request_with("/", {"Authorization": credentials})
    for _ in range(2):
        flower.check_attempt(request)
        flower.note_password(request, is_right=False)
    with pytest.raises(tornado.web.HTTPError) as caught:
        flower.check_attempt(request)
    assert caught.value.status_code == 429


def test_wrong_passwords_from_elsewhere_do_not_lock_out_a_signed_in_user(checks: Any, redis_client: Any):
    flower = checks(trusted_networks=("10.0.0.0/8",), sign_in_network_limit=100, sign_in_user_limit=2)
    known, stranger = (
        request_with("/", {"Authorization": "Basic YTpi", "X-Forwarded-For": address})
        for address in ("192.0.2.1", "198.51.100.1")
    )
    flower.note_password(known, is_right=True)
    for _ in range(2):
        flower.note_password(stranger, is_right=False)
    flower.check_attempt(known)
    with pytest.raises(tornado.web.HTTPError):
        flower.check_attempt(stranger)


@pytest.mark.parametrize(("broker", "database"), [("", 0), ("redis", 1), ("amqp://rabbit/", 0)])
def test_attempts_are_counted_by_the_user_of_redis_that_may_write(
    checks: Any, redis_url: str, redis_client: Any, broker: str, database: int
):
    """That of the broker, if it is Redis; the other one may read some keys alone."""
    other = f"{redis_url.removesuffix('/0')}/1"
    flower = checks(broker_url=other if broker == "redis" else broker)
    flower.note_password(request_with("/", {"Authorization": "Basic YTpi"}), is_right=False)
    sizes = [redis_client.dbsize(), redis.Redis.from_url(other).dbsize()]
    assert [size > 0 for size in sizes] == [database == 0, database == 1]


def test_access_is_configured_before_flower_reads_its_options(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.flower.auth.close_routes", lambda: None)
    monkeypatch.setattr("worker.flower.auth.harden", lambda _lifetime_s: None)
    monkeypatch.setattr("worker.flower.auth.keep_local", lambda: None)
    monkeypatch.setattr("sys.argv", ["flower"])
    environ = {"FLOWER_UNAUTHENTICATED_API": "true"}
    guard(load(FlowerSettings, oauth_client_id="us", secret_key="key"), environ)
    # What signs the API's cookies signs none of Flower's.
    assert "key" not in bytes.fromhex(environ["FLOWER_COOKIE_SECRET"]).decode("latin-1")
    assert len(environ.pop("FLOWER_COOKIE_SECRET")) == 64
    assert environ == {
        "FLOWER_READ_ONLY": "true", "FLOWER_AUTH": ".*@storage-api",
        "FLOWER_AUTH_PROVIDER": "worker.flower.auth.OpenIDLoginHandler",
    }  # fmt: skip
    environ = {}
    guard(load(FlowerSettings, SAPI_DEBUG=True), environ)
    assert environ == {"FLOWER_READ_ONLY": "true", "FLOWER_ADDRESS": "127.0.0.1"}
