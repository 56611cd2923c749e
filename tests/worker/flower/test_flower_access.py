"""Flower, as it is started: closed to anonymous clients, open to users of the provider, and read-only."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from tornado.web import create_signed_value

from deploy.dev.embedded_redis import free_port
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET, provider
from worker.flower.access import cookie_of
from worker.store.ended_sessions import ended_digest, have_ended
from worker.store.sign_in_attempts import SignInAttempts

__all__ = ["provider"]

LOOKS = ["/", "/workers", "/tasks", "/broker", "/api/tasks", "/api/workers", "/api/task/types", "/metrics"]
CHANGES = ["/api/task/send-task/x", "/api/task/apply/x", "/api/task/async-apply/x", "/api/task/revoke/x"]
CHANGES += ["/api/worker/shutdown/x", "/api/task/abort/x", "/api/worker/pool/grow/x"]


@contextmanager
def flower(redis_url: str, **settings: str) -> Iterator[str]:
    """Flower's address, while it runs."""
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SAPI_", "FLOWER_"))}
    listens_on = settings.pop("address", "127.0.0.1")
    environ |= {
        "SAPI_REDIS_URL": redis_url,
        "PYTHONPATH": str(Path.cwd()),
        "AUTHLIB_INSECURE_TRANSPORT": "1",
    } | settings
    command = [sys.executable, "-m", "celery", "-A", "worker.flower.app:app", "flower", f"--port={port}"]
    process = subprocess.Popen(
        [*command, f"--address={listens_on}"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://{listens_on}:{port}"
    try:
        await_flower(process, address)
        yield address
    finally:
        process.kill()
        process.wait(timeout=20)


def await_flower(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"flower ended with {process.returncode}"
        try:
            if requests.get(f"{address}/healthcheck", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    pytest.fail("flower does not answer")


def status(session, address, path, method="GET"):
    return session.request(method, address + path, allow_redirects=False, timeout=20).status_code


def test_signing_in_by_the_provider(redis_url, provider, tmp_path):
    log = tmp_path / "audit.log"
    settings = {
        "SAPI_AUDIT_LOG": str(log),
        "SAPI_OAUTH_CLIENT_ID": CLIENT_ID,
        "SAPI_OAUTH_SECRET_KEY": CLIENT_SECRET,
        "SAPI_OAUTH_DISCOVERY_URL": f"{provider.issuer}/.well-known/openid-configuration",
        "SAPI_ROLE_ADMIN_GROUPS": '"it db, admins"',
        "FLOWER_UNAUTHENTICATED_API": "true",
    }
    with flower(redis_url, **settings) as address:
        provider.clients[CLIENT_ID].redirect_uris = [f"{address}/login"]
        stranger = requests.Session()
        assert {path: status(stranger, address, path) for path in LOOKS if status(stranger, address, path) == 200} == {}
        assert {status(stranger, address, path, "POST") for path in CHANGES} == {403}

        # Neither a user without groups nor one with another group.
        assert [enter(requests.Session(), address, user) for user in ("anna", "uma")] == [403, 403]
        assert status(stranger, address, "/login?code=x&state=made-up") == 403
        adam = requests.Session()
        assert enter(adam, address, "adam") == 302
        assert {path: status(adam, address, path) for path in LOOKS if status(adam, address, path) != 200} == {}
        assert {status(adam, address, path, "POST") for path in CHANGES} == {403}

        assert bring_back(address, "adam", other_state=None) == 403
        assert bring_back(address, "adam", other_state=begun(requests.Session(), address)) == 403
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    sign_ins = [(line["who"], line["allowed"], line.get("reason")) for line in lines if line.get("who")]
    refused = [(user, False, "missing-role") for user in ("anna", "uma")]
    assert sign_ins == [*refused, ("adam", True, None)]


def begun(session: requests.Session, address: str) -> str:
    """The state cookie of a browser that has left for the provider."""
    session.get(f"{address}/login", allow_redirects=False, timeout=20)
    return session.cookies["oauth_state"]


def bring_back(address: str, user: str, *, other_state: str | None) -> int:
    """Sign in, but come back without the state cookie or with another browser's: the response of Flower.

    The verifier stays, so that the provider does take the code.
    """
    session = requests.Session()
    back = code_for(session, address, user)
    cookies = session.cookies.get_dict() | {"oauth_state": other_state}
    sent = {name: value for name, value in cookies.items() if value is not None}
    assert "oauth_verifier" in sent
    return requests.get(back, cookies=sent, allow_redirects=False, timeout=20).status_code


def enter(session: requests.Session, address: str, user: str) -> int:
    """Sign in; the response of Flower."""
    return session.get(code_for(session, address, user), allow_redirects=False, timeout=20).status_code


def code_for(session: requests.Session, address: str, user: str) -> str:
    """Where the provider sends ``user`` after signing in, with a code."""
    leaving = session.get(f"{address}/login", allow_redirects=False, timeout=20)
    assert re.search("code_challenge_method=S256", leaving.headers["Location"])
    there = requests.post(leaving.headers["Location"], data={"user": user}, allow_redirects=False, timeout=20)
    return there.headers["Location"]


def test_http_basic_where_there_is_no_provider(redis_url):
    settings = {"SAPI_BASIC_AUTH_USERNAME": "svc", "SAPI_BASIC_AUTH_PASSWORD": "pass"}
    with flower(redis_url, **settings) as address:
        stranger, user = requests.Session(), requests.Session()
        user.auth = ("svc", "pass")
        assert {status(stranger, address, path) for path in LOOKS} == {401}
        assert {status(user, address, path) for path in LOOKS} == {200}


def test_without_provider_and_password_access_is_refused(redis_url):
    with flower(redis_url) as address:
        assert {status(requests.Session(), address, path) for path in LOOKS} == {401}


def test_in_debug_mode_access_is_read_only(redis_url):
    with flower(redis_url, SAPI_DEBUG="true", FLOWER_UNAUTHENTICATED_API="true") as address:
        assert {status(requests.Session(), address, path) for path in LOOKS} == {200}
        assert {status(requests.Session(), address, path, "POST") for path in CHANGES} == {403}

        read = requests.get(f"{address}/api/workers", headers={"Origin": "https://evil.example.org"}, timeout=20)
        assert "Access-Control-Allow-Origin" not in read.headers
        rebound = [
            requests.get(address + path, headers={"Host": host}, timeout=20)
            for path in LOOKS
            for host in ("evil.example.org", "localhost.evil.example.org", "127.0.0.1.evil.example.org:80")
        ]
        assert {answer.status_code for answer in rebound} == {403}


def test_debug_mode_on_other_interfaces_is_refused(redis_url):
    with flower(redis_url, SAPI_DEBUG="true", FLOWER_UNAUTHENTICATED_API="true", address="127.0.0.2") as address:
        assert {status(requests.Session(), address, path) for path in LOOKS} == {401}


def test_a_session_ends_also_for_a_copy_of_its_cookie(redis_url):
    key = "a secret key for tests, only for tests"
    settings = {"SAPI_SECRET_KEY": key, "SAPI_OAUTH_CLIENT_ID": CLIENT_ID, "SAPI_SESSION_LIFETIME": "999999"}
    with flower(redis_url, **settings) as address:
        assert look_with(address, cookie(key, age_s=60)) == 200
        assert look_with(address, cookie(key, age_s=8 * 3600 + 60)) == 302
        assert look_with(address, cookie("another key", age_s=60)) == 302


def cookie(key: str, age_s: int) -> str:
    """A cookie of Flower's as it was made some time ago."""
    return signed(key, "adam@storage-api", age_s)


def signed(key: str, value: str, age_s: int = 0) -> str:
    """The value as Flower would have signed it some time ago."""
    secret = hmac.digest(key.encode(), b"flower", "sha256").hex()
    return create_signed_value(secret, "user", value, clock=lambda: time.time() - age_s).decode()


def look_with(address: str, value: str) -> int:
    return requests.get(f"{address}/tasks", cookies={"user": value}, allow_redirects=False, timeout=20).status_code


def test_passwords_may_have_any_characters(redis_url):
    settings = {"SAPI_BASIC_AUTH_USERNAME": "svc", "SAPI_BASIC_AUTH_PASSWORD": "one,svc:two"}
    with flower(redis_url, **settings) as address:
        guesses = ["svc:one,svc:two", "svc:one", "svc:two", "svc:\u00e9", "svc", ":"]
        answers = [requests.get(f"{address}/tasks", headers=basic(guess), timeout=20) for guess in guesses]

        assert [answer.status_code for answer in answers] == [200, 401, 401, 401, 401, 401]
        assert not [answer.text for answer in answers if "Traceback" in answer.text]
        for answer in answers[:2]:
            assert answer.headers.items() >= {
                "Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
            }.items()  # fmt: skip


def basic(written: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(written.encode()).decode()}


def test_guessing_passwords_is_limited_and_audited(redis_url, redis_client, tmp_path):
    log = tmp_path / "audit.log"
    settings = {
        "SAPI_BASIC_AUTH_USERNAME": "svc", "SAPI_BASIC_AUTH_PASSWORD": "pass", "SAPI_SIGN_IN_NETWORK_LIMIT": "3",
        "SAPI_TRUSTED_NETWORKS": "127.0.0.0/8", "SAPI_AUDIT_LOG": str(log),
    }  # fmt: skip
    with flower(redis_url, **settings) as address:

        def tried(credentials: str, client: str = "192.0.2.1") -> requests.Response:
            headers = basic(credentials) | {"X-Forwarded-For": client}
            return requests.get(f"{address}/tasks", headers=headers, timeout=20)

        assert [tried(f"svc:{guess}").status_code for guess in "abcd"] == [401, 401, 401, 429]
        late = tried("svc:pass")
        assert (late.status_code, late.headers["Retry-After"]) == (429, "60")
        assert tried("svc:pass", "192.0.2.2").status_code == 200

    # The front ends count with it.
    attempts = SignInAttempts(redis_client, "sapi:", per_network=3, per_user=9)
    assert attempts.limit_reached(attempts.counts("svc", "192.0.2.1/32"), "svc", "192.0.2.1/32")
    # Nor do anonymous clients elsewhere lock the user out where they signed in to Flower.
    counts = attempts.counts("svc", "192.0.2.2/32")
    assert counts is not None
    assert abs(int(counts[2] or 0) - time.time()) < 60
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["who"], line["allowed"], line.get("reason"), line["address"]) for line in lines] == [
        *[("svc", False, "unauthenticated", "192.0.2.1")] * 3,
        *[("svc", False, "rate-limited", "192.0.2.1")] * 2,
        ("svc", True, None, "192.0.2.2"),
    ]


def test_a_session_of_the_second_in_which_all_were_ended_has_ended(redis_client):
    redis_client.set(f"sapi:sessions_ended:{ended_digest('adam')}", 5, ex=60)
    assert [have_ended(redis_client, "sapi:", ["eve", "adam"], began_s) for began_s in (5.9, 6.0)] == [True, False]
    assert not have_ended(redis_client, "sapi:", ["eve"], 1.0)


def test_ended_sessions_are_refused(redis_url, redis_client):
    key = "a secret key for tests, only for tests"
    settings = {"SAPI_SECRET_KEY": key, "SAPI_OAUTH_CLIENT_ID": CLIENT_ID, "SAPI_FLOWER_URL": "https://flower.example"}
    with flower(redis_url, **settings) as address:
        mine = signed(key, cookie_of("adam", "id-of-adam"))
        assert look_with(address, mine) == 200
        for user in ("adam", "id-of-adam"):
            redis_client.set(f"sapi:sessions_ended:{ended_digest(user)}", int(time.time()) + 1)
            assert look_with(address, mine) == 302
            redis_client.delete(f"sapi:sessions_ended:{ended_digest(user)}")
        # One that does not say when it began may be older.
        redis_client.set(f"sapi:sessions_ended:{ended_digest('bob')}", 1, ex=60)
        assert [look_with(address, signed(key, f"{who}@storage-api")) for who in ("bob", "uma")] == [302, 200]
        assert look_with(address, signed(key, cookie_of("uma", ""))) == 200
        page = requests.get(f"{address}/tasks", cookies={"user": mine}, timeout=20)
        assert page.headers["Strict-Transport-Security"].startswith("max-age=")
        # The groups of a session are as old as its cookie, at most.
        assert look_with(address, signed(key, cookie_of("adam", "id-of-adam"), age_s=301)) == 302
