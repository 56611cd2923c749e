"""Each decision is one line of JSON: who, which role, what for, allowed or why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api import auth
from tests.api.auth.auth_app import bearer, build, sign_in, with_provider
from worker.catalog.operations import Role
from worker.config.settings import BadSettings


class Log:
    """The audit log's file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> list[dict[str, Any]]:
        """Its lines since the last time."""
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        self.path.write_text("")
        return lines


@pytest.fixture
def log(tmp_path: Path) -> Log:
    path = tmp_path / "audit.log"
    path.touch()
    return Log(path)


@pytest.fixture
def client(redis_client, provider, log):
    return with_provider(redis_client, provider, audit_log=str(log.path)).test_client()


def decision(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line[name] for name in ("event", "who", "auth_method", "allowed"))


def test_sign_ins_and_outs(client, log):
    sign_in(client, "adam")
    client.get("/logout")

    events = [decision(line) for line in log() if line["event"] != "access"]
    assert events == [("sign-in", "adam", "session", True), ("sign-out", "adam", "session", True)]


@pytest.mark.parametrize(
    ("settings", "path", "who"),
    [
        ({"debug": True}, "/login", "developer"),
        ({"basic_auth_username": "svc", "basic_auth_password": "pass"}, "/login_basic", "svc"),
    ],
)
def test_sign_ins_and_outs_without_a_provider(redis_client, log, settings, path, who):
    client = build(redis_client, audit_log=str(log.path), **settings).test_client()
    client.get(path, auth=("svc", "pass") if who == "svc" else None)
    client.get("/logout")

    events = [decision(line) for line in log()]
    assert events == [("sign-in", who, "session", True), ("sign-out", who, "session", True)]


def test_an_allowed_request_is_logged(client, log):
    sign_in(client, "adam")
    log()
    client.post("/v4/needs/ADMIN", headers={"X-Request-ID": "r-1"})

    (line,) = log()
    expected: dict[str, object] = {"event": "access", "who": "adam", "auth_method": "session", "role": "ADMIN"}
    expected |= {"operation": "try_it", "allowed": True}
    expected |= {
        "target": "/v4/needs/ADMIN",
        "method": "POST",
        "address": "127.0.0.1",
        "request_id": "r-1",
        "status": 200,
    }
    assert expected.items() <= line.items()


def test_a_refused_request_is_logged(client, provider, log):
    client.post("/v4/needs/ADMIN")
    client.post("/v4/needs/ADMIN", headers=bearer(provider.token(preferred_username="eve")))
    client.post("/v4/needs/ADMIN", headers=bearer("nonsense"))

    lines = log()
    assert [(line["who"], line["allowed"], line["reason"]) for line in lines[:2]] == [
        ("", False, "unauthenticated"),
        ("eve", False, "missing-role"),
    ]
    assert "needs the role ADMIN" in lines[1]["detail"]
    assert [line.get("auth_method") for line in lines] == ["anonymous", "bearer", "bearer"]
    assert (lines[2]["role"], lines[2]["reason"], lines[2]["status"]) == ("ADMIN", "unauthenticated", 401)


def test_access_that_needs_only_a_sign_in_is_logged(client, log):
    client.application.add_url_rule("/signed-in", view_func=lambda: auth.require_signed_in().name)
    client.get("/signed-in")
    sign_in(client, "adam")
    client.get("/signed-in")

    refused, allowed = [line for line in log() if line["event"] == "access"]
    assert (refused["who"], refused["auth_method"], refused["allowed"]) == ("", "anonymous", False)
    assert (allowed["who"], allowed["auth_method"], allowed["allowed"]) == ("adam", "session", True)


def test_a_job_is_named_in_the_same_line(redis_client, log):
    app = build(redis_client, audit_log=str(log.path))

    @app.post("/submit")
    def submit():
        auth.require(Role.USER, operation="create_volume", target="/v4/dummy/volumes/x")
        auth.audit.record(job_id="the-id")
        return "ok"

    app.test_client().post("/submit")

    (line,) = log()
    expected = {"job_id": "the-id", "operation": "create_volume", "target": "/v4/dummy/volumes/x", "allowed": True}
    assert expected.items() <= line.items()


def test_the_job_is_taken_from_the_operation_location_header(redis_client, log):
    app = build(redis_client, audit_log=str(log.path))

    @app.post("/submit")
    def submit():
        auth.require(Role.USER, operation="create_volume")
        return "", 202, {"Operation-Location": "/v4/jobs/the-id"}

    app.test_client().post("/submit")

    (line,) = log()
    assert (line["job_id"], line["status"]) == ("the-id", 202)


def test_clients_cannot_inject_lines(client, log):
    client.post("/v4/needs/ADMIN", headers={"X-Request-ID": 'x"} {"who": "root"'})
    client.get("/oauth-done?state=x%0a{}&error=%0a%7B%7D")

    assert len(log()) == 2


def test_no_secret_is_logged(client, provider, log):
    token = provider.token()
    client.post("/v4/needs/ADMIN", headers=bearer(token))
    sign_in(client, "adam")

    text = log.path.read_text()
    assert token not in text
    assert client.get_cookie("sapi_session").value not in text
    assert "code=" not in text


def test_a_sign_in_that_failed(client, log):
    client.get("/oauth-done?state=made-up&code=x")

    (line,) = log()
    assert (line["event"], line["allowed"], line["reason"], line["status"]) == (
        "sign-in",
        False,
        "invalid-request",
        400,
    )


@pytest.mark.parametrize("path", ["/login", "/oauth-done"])
@pytest.mark.parametrize(("settings", "status"), [({}, 503), ({"debug": True}, 403)])
def test_a_sign_in_that_is_not_possible_here(redis_client, log, path, settings, status):
    client = build(redis_client, audit_log=str(log.path), **settings).test_client()
    client.get(path, environ_base={"REMOTE_ADDR": "192.0.2.1"})

    (line,) = log()
    assert [line[name] for name in ("event", "allowed", "reason", "status")] == [
        "sign-in", False, "sign-in-unavailable", status,
    ]  # fmt: skip
    assert ("debug mode" if settings else "SAPI_OAUTH_CLIENT_ID") in line["detail"]


def test_a_page_of_another_site(client, log):
    sign_in(client, "adam")
    log()
    client.post("/v4/needs/ADMIN", headers={"Origin": "https://evil.example.org"})
    client.get("/logout", headers={"Sec-Fetch-Site": "cross-site"})

    first, second = log()
    assert (first["who"], first["auth_method"], first["role"]) == ("adam", "session", "ADMIN")
    assert (first["allowed"], first["reason"]) == (False, "cross-site-request")
    assert (second["event"], second["allowed"], second["reason"]) == ("sign-out", False, "cross-site-request")


def test_without_an_access_decision_nothing_is_logged(client, provider, log):
    client.get("/conf/me/roles", headers=bearer(provider.token()))

    assert log() == []


def test_a_rate_limited_change_is_logged(redis_client, log):
    client = build(redis_client, audit_log=str(log.path), rate_limit="1/minute").test_client()
    for _ in range(2):
        client.post("/v4/needs/USER")

    assert [(line["allowed"], line.get("reason")) for line in log()] == [(True, None), (False, "rate-limited")]


def test_wrong_passwords_are_logged_with_user_name_and_untrusted_proxy(redis_client, log):
    settings = {"basic_auth_username": "svc", "basic_auth_password": "pass", "sign_in_network_limit": 1}
    client = build(redis_client, **settings, audit_log=str(log.path)).test_client()
    for headers in ({"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.1"}, {}):
        client.get("/whoami", auth=("svc", "wrong"), headers=headers)

    first, second, direct = log()
    assert (first["who"], first["reason"], first["address"], "hint" in first) == (
        "svc", "unauthenticated", "127.0.0.1", False,
    )  # fmt: skip
    assert (second["who"], second["reason"], second["status"]) == ("svc", "rate-limited", 429)
    assert (first["auth_method"], second["auth_method"]) == ("basic", "basic")
    assert "SAPI_TRUSTED_NETWORKS" in second["hint"]
    assert (direct["reason"], "hint" in direct) == ("rate-limited", False)


def test_behind_a_trusted_proxy_no_untrusted_proxy_is_logged(redis_client, log):
    settings = {"basic_auth_username": "svc", "basic_auth_password": "pass", "sign_in_network_limit": 1}
    client = build(redis_client, **settings, trusted_networks=("127.0.0.1",), audit_log=str(log.path)).test_client()
    for _ in range(2):
        client.get("/whoami", auth=("svc", "wrong"), headers={"X-Forwarded-For": "192.0.2.1"})

    assert [(line["reason"], line["address"], "hint" in line) for line in log()] == [
        ("unauthenticated", "192.0.2.1", False), ("rate-limited", "192.0.2.1", False),
    ]  # fmt: skip


def test_a_log_that_cannot_be_written_stops_the_start(redis_client, tmp_path):
    with pytest.raises(BadSettings, match=f"SAPI_AUDIT_LOG: {tmp_path} cannot be written: Is a directory"):
        build(redis_client, audit_log=str(tmp_path))


def test_ending_the_sessions_of_a_user_is_logged_with_both_names(client, log):
    sign_in(client, "uma")
    log()
    client.post("/conf/sessions/adam/end")

    (line,) = log()
    expected = {"event": "end-sessions", "who": "uma", "operation": "end_sessions", "target": "adam", "allowed": True}
    assert expected.items() <= line.items()


def test_refusals_beyond_the_rate_are_counted_and_not_written(redis_client, log, monkeypatch):
    at_end: list[Callable[[], object]] = []
    monkeypatch.setattr(auth.audit, "at_end", at_end.append)
    client = build(redis_client, audit_log=str(log.path), audit_rate=30).test_client()
    for _ in range(50):
        client.post("/v4/needs/ADMIN")

    assert len(log()) == 3
    for callback in at_end:
        callback()
    assert [(line["event"], line["count"]) for line in log()] == [("left-out", 47)]
