"""Signing in to Flower, step by step: requests to the provider, who may sign in, and what the cookie holds."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import tornado.web
from tornado.auth import AuthError

from tests.worker.flower.requests_to_flower import request_with
from worker.config.settings import BadSettings, load
from worker.flower import access
from worker.flower.access import session_s
from worker.flower.auth import OpenIDLoginHandler, _basic, _groups_in, _stays_here
from worker.flower.settings import FlowerSettings

_PROVIDER = "https://provider.example"
_SETTINGS = {
    "SAPI_OAUTH_CLIENT_ID": "us", "SAPI_OAUTH_SECRET_KEY": "our secret", "SAPI_ROLE_ADMIN_GROUPS": "admins",
    "SAPI_ROLE_UBER_ADMIN_GROUPS": "ubers", "SAPI_OAUTH_TOKEN_URL": f"{_PROVIDER}/token",
    "SAPI_OAUTH_AUTHORIZE_URL": f"{_PROVIDER}/authorize?x=1", "SAPI_OAUTH_GROUPS_URL": f"{_PROVIDER}/groups",
    "SAPI_OAUTH_NAME_CLAIM": "login",
}  # fmt: skip


@dataclass
class Provider:
    """Answers by path, and records the requests."""

    answers: dict[str, Any] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)

    async def fetch(self, request: Any) -> Any:
        self.requests.append(request)
        return SimpleNamespace(body=json.dumps(self.answers[urlsplit(request.url).path]))


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, redis_url: str, audit: Path) -> Iterator[Provider]:
    for name, value in (_SETTINGS | {"SAPI_REDIS_URL": redis_url, "SAPI_AUDIT_LOG": str(audit)}).items():
        monkeypatch.setenv(name, value)
    made = Provider({"/token": {"access_token": "a token"}, "/groups": {"groups": ["admins"], "sub": "id-of-adam"}})
    monkeypatch.setattr("worker.flower.auth.AsyncHTTPClient", lambda: made)
    access.flower_access.cache_clear()
    yield made
    access.flower_access.cache_clear()


@dataclass
class Cookie:
    """A cookie as it was set."""

    value: str
    options: dict[str, Any]


class Login(OpenIDLoginHandler):
    """Records cookies and redirects in the place of sending them."""

    def initialize(self) -> None:
        self.cookies_set: dict[str, Cookie] = {}
        self.location = ""

    def set_cookie(self, name: str, value: str | bytes, *_: Any, **options: Any) -> None:
        self.cookies_set[name] = Cookie(value if isinstance(value, str) else value.decode(), options)

    def redirect(self, url: str, *_: Any, **__: Any) -> None:
        self.location = url


def _handler(uri: str, cookies: dict[str, Cookie] | None = None, protocol: str = "http") -> Login:
    application: Any = tornado.web.Application(cookie_secret="a secret")
    application.options = SimpleNamespace(basic_auth=None, auth=".*", url_prefix="")
    text = "; ".join(f"{name}={cookie.value}" for name, cookie in (cookies or {}).items())
    return Login(application, request_with(uri, {"Cookie": text} if text else None, protocol))


def _redirect_to_provider() -> tuple[dict[str, list[str]], dict[str, Cookie]]:
    """The query with which a browser leaves for the provider, and its cookies."""
    handler = _handler("/login")
    asyncio.run(handler.get())
    location = urlsplit(handler.location)
    assert (location.netloc, location.path) == ("provider.example", "/authorize")
    return parse_qs(location.query), handler.cookies_set


def _return_from_provider(protocol: str = "http") -> Login:
    query, cookies = _redirect_to_provider()
    handler = _handler(f"/login?code=the%20code&state={query['state'][0]}", cookies, protocol)
    asyncio.run(handler.get())
    return handler


def test_a_browser_leaves_with_a_state_and_a_challenge_and_its_code_is_exchanged(provider: Provider):
    query, cookies = _redirect_to_provider()
    assert {name: query[name] for name in ("x", "response_type", "client_id", "redirect_uri")} == {
        "x": ["1"], "response_type": ["code"], "client_id": ["us"], "redirect_uri": ["http://flower.test/login"],
    }  # fmt: skip
    assert "scope" not in query
    handler = _handler(f"/login?code=the%20code&state={query['state'][0]}", cookies)
    asyncio.run(handler.get())
    token, about = provider.requests
    form = {name: values[0] for name, values in parse_qs(token.body.decode()).items()}
    challenge = base64.urlsafe_b64encode(hashlib.sha256(form.pop("code_verifier").encode()).digest()).rstrip(b"=")
    assert query["code_challenge"] == [challenge.decode()]
    assert form == {
        "grant_type": "authorization_code", "code": "the code", "redirect_uri": "http://flower.test/login",
        "client_id": "us", "client_secret": "our secret",
    }  # fmt: skip
    assert (about.url, about.headers["Authorization"]) == (f"{_PROVIDER}/groups", "Bearer a token")
    for request in provider.requests:
        assert (request.follow_redirects, request.request_timeout, request.connect_timeout) == (False, 5, 5)
    # The verifier can be used once.
    assert handler.cookies_set["oauth_verifier"].value == ""


@pytest.mark.parametrize(
    ("settings", "scope"),
    [
        ({"SAPI_OAUTH_DISCOVERY_URL": f"{_PROVIDER}/openid"}, "openid profile email"),
        ({"SAPI_OAUTH_DISCOVERY_URL": f"{_PROVIDER}/openid", "SAPI_OAUTH_SCOPE": "openid groups"}, "openid groups"),
        ({"SAPI_OAUTH_SCOPE": "groups"}, "groups"),
    ],
)
def test_the_configured_scopes_are_requested(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], scope: str
):
    provider.answers["/openid"] = {"authorization_endpoint": f"{_PROVIDER}/authorize"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert _redirect_to_provider()[0]["scope"] == [scope]


@pytest.mark.usefixtures("provider")
def test_counts_of_omitted_audit_lines_are_written_when_flower_ends(audit: Path, monkeypatch: pytest.MonkeyPatch):
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr("worker.flower.access.atexit.register", ends.append)
    monkeypatch.setenv("SAPI_AUDIT_RATE", "1")
    for _ in range(3):
        access.flower_access().note(request_with("/"), "access", who="ann", allowed=False, reason="unauthenticated")
    for end in ends:
        end()
    events = [json.loads(line) for line in audit.read_text("utf-8").splitlines()]
    assert [event["event"] for event in events] == ["access", "left-out"]
    assert events[-1]["count"] == 2


def test_the_cookie_has_the_user_and_expires_with_the_groups(provider: Provider, audit: Path, redis_client: Any):
    provider.answers["/groups"] |= {"login": "ad&m"}
    handler = _return_from_provider()
    cookie = handler.cookies_set["user"]
    assert [cookie.options[name] for name in ("httponly", "secure", "samesite")] == [True, False, "Lax"]
    value = (handler.get_secure_cookie("user", cookie.value) or b"").decode()
    assert value.startswith("ad%26m&id-of-adam&")
    assert 290 < time.time() + 300 - int(value.removesuffix("@storage-api").split("&")[2]) <= 302
    assert _return_from_provider("https").cookies_set["user"].options["secure"]
    (line, _) = (json.loads(text) for text in audit.read_text().splitlines())
    assert (line["event"], line["who"], line["allowed"], line["address"]) == ("sign-in", "ad&m", True, "10.0.0.1")


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({"upn": "adam@site"}, "adam@site"),
        ({"username": "adam", "upn": "x"}, "adam"),
        ({"login": "a\nb"}, "id-of-adam"),
    ],
)
def test_users_have_the_same_names_as_in_the_api(provider: Provider, audit: Path, about: dict[str, str], name: str):
    """By which an administrator ends their sessions."""
    provider.answers["/groups"] |= about
    handler = _return_from_provider()
    value = (handler.get_secure_cookie("user", handler.cookies_set["user"].value) or b"").decode()
    assert unquote(value).startswith(f"{name}&id-of-adam&")
    assert json.loads(audit.read_text().splitlines()[-1])["who"] == name


@pytest.mark.parametrize(
    ("environ", "about"),
    [
        ({}, {"groups": []}),
        ({}, {"groups": ["Admins", "users"]}),
        ({"SAPI_FLOWER_GROUPS": "others"}, {"groups": ["admins", "ubers"]}),
        ({"SAPI_ROLE_ADMIN_GROUPS": "", "SAPI_ROLE_UBER_ADMIN_GROUPS": ""}, {"groups": ["admins"]}),
        ({"SAPI_ROLE_ADMIN_GROUPS": "", "SAPI_ROLE_UBER_ADMIN_GROUPS": ""}, {}),
    ],
)
def test_a_user_without_a_group_is_refused(
    provider: Provider, audit: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], about: dict[str, Any]
):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    provider.answers["/groups"] = about | {"sub": "uma"}
    with pytest.raises(tornado.web.HTTPError, match="none of the groups"):
        _return_from_provider()
    (line,) = (json.loads(text) for text in audit.read_text().splitlines())
    assert (line["who"], line["allowed"], line["reason"]) == ("uma", False, "missing-role")


def _refusals(audit: Path) -> list[tuple[str, bool, str]]:
    lines = [json.loads(text) for text in audit.read_text().splitlines()]
    return [(line["event"], line["allowed"], line["reason"]) for line in lines]


@pytest.mark.parametrize("answer", ["code=a", "code=a&state=another", "error=access_denied&state=another"])
def test_a_response_to_another_browser_is_refused(provider: Provider, audit: Path, answer: str):
    _, cookies = _redirect_to_provider()
    with pytest.raises(AuthError, match="State tokens do not match"):
        asyncio.run(_handler(f"/login?{answer}", cookies).get())
    assert provider.requests == []
    assert _refusals(audit) == [("sign-in", False, "invalid-request")]


def test_a_user_refused_by_the_provider_is_not_redirected_to_it_again(provider: Provider, audit: Path):
    """It may refuse again without a question, and the browser would go back and forth."""
    query, cookies = _redirect_to_provider()
    handler = _handler(f"/login?error=access_denied&state={query['state'][0]}", cookies)
    with pytest.raises(tornado.web.HTTPError, match="did not let you in"):
        asyncio.run(handler.get())
    assert (handler.location, provider.requests) == ("", [])
    assert _refusals(audit) == [("sign-in", False, "sign-in-unavailable")]


@pytest.mark.parametrize("answer", [[], "text", None])
def test_a_response_that_is_no_object_is_refused(provider: Provider, audit: Path, answer: Any):
    provider.answers["/groups"] = answer
    with pytest.raises(tornado.web.HTTPError, match="makes no sense"):
        _return_from_provider()
    assert _refusals(audit) == [("sign-in", False, "sign-in-unavailable")]


def test_groups_are_read_from_the_claim_or_else_from_the_answer_of_the_groups_url():
    assert _groups_in({"roles": ["a"], "groups": ["b"]}, "roles") == {"a"}
    assert _groups_in({"groups": ["b"]}, "roles") == {"b"}
    assert _groups_in({"roles": [], "groups": ["b"]}, "roles") == frozenset()


def test_allowed_groups_default_to_those_of_all_roles():
    groups = {"role_admin_groups": "a", "role_uber_admin_groups": "u"}
    assert load(FlowerSettings, **groups).groups == {"a", "u"}
    assert load(FlowerSettings, flower_groups="f", **groups).groups == {"f"}
    with pytest.raises(BadSettings, match="comma-separated"):
        load(FlowerSettings, flower_groups='"open')


def test_a_session_is_no_longer_than_the_shortest_of_its_limits():
    assert session_s(load(FlowerSettings)) == 300
    assert session_s(load(FlowerSettings, session_lifetime=60)) == 60
    assert session_s(load(FlowerSettings, session_lifetime=10**6, roles_max_age=86400)) == 8 * 3600


def test_it_listens_on_loopback_by_default():
    assert _stays_here(["flower"])
    assert _stays_here(["flower", "--address=::1"])
    assert not _stays_here(["flower", "--address=127.0.0.1", "--address=0.0.0.0"])


def test_without_a_password_http_basic_is_refused():
    closed = [_basic(load(FlowerSettings, basic_auth_username=name)) for name in ("", "svc")]
    assert all(text.startswith("nobody:") and len(text) > 60 for text in closed)
    assert closed[0] != closed[1]
