"""Every route, by every combination of roles and way to sign in: only clients with the role are let through."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, combinations
from typing import Any

import pytest
from flask import Flask

from api.app import create_app
from api.auth import AuthSettings
from api.openapi.blueprint import MAY_CHANGE, SIGNED_IN
from api.services import Services
from api.settings import ApiSettings
from tests.api.auth.auth_app import bearer, sign_in
from tests.api.front_end import SilentPublisher
from tests.identity_provider.directory import User
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET
from worker.catalog.operations import Role
from worker.config.settings import Settings, load

GROUPS = {Role.USER: "all users", Role.ADMIN: "admins", Role.UBER_ADMIN: "uber, admins"}
COMBINATIONS = list(chain.from_iterable(combinations(Role, size) for size in range(4)))
SAMPLE = {"subsystem": "filer", "volume": "vol1", "job_id": "01990b7e-6c1e-7c55-9d0a-4b7c2f6e1a90"}
#: Never wait for a job.
AT_ONCE = {"Prefer": "respond-async, wait=0"}


class FrontEnds:
    """The whole front end, as configured for a provider and for one user of HTTP Basic."""

    def __init__(self, redis_url: str, discovery: str) -> None:
        services = Services.build(load(Settings, redis_url=redis_url), load(ApiSettings), ("filer",))
        self._services = replace(services, publisher=SilentPublisher())  # type: ignore[arg-type]
        self._discovery = discovery

    def app(self, basic_roles: tuple[Role, ...] = ()) -> Flask:
        settings = load(
            AuthSettings,
            secret_key="a secret key for tests, only for tests",
            role_user_groups=(GROUPS[Role.USER],),
            role_admin_groups=(GROUPS[Role.ADMIN],),
            role_uber_admin_groups=(GROUPS[Role.UBER_ADMIN],),
            oauth_discovery_url=self._discovery,
            oauth_client_id=CLIENT_ID,
            oauth_secret_key=CLIENT_SECRET,
            basic_auth_username="svc",
            basic_auth_password="pass",
            basic_auth_roles=basic_roles,
            rate_limit="off",
        )
        return create_app(self._services, settings)


def protected(app: Flask) -> Iterator[tuple[str, str, Any]]:
    """Every method and path that requires a role or a sign-in, and which."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(("/v3/", "/console")):
            continue  # Requests there wait, and are refused in other words: tests/api/v3 has them.
        served = app.view_functions[rule.endpoint]
        view_class = getattr(served, "view_class", None)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            view = getattr(view_class, method.lower()) if view_class else served
            access = getattr(view, "access", None)
            if access in (SIGNED_IN, MAY_CHANGE, *Role):
                values = {name: SAMPLE.get(name, "x1") for name in rule.arguments}
                with app.test_request_context():
                    yield method, app.url_map.bind("localhost").build(rule.endpoint, values, method), access


@pytest.fixture
def services(redis_client, redis_url, provider):
    provider.users = {
        "-".join(roles) or "nothing": User("-".join(roles) or "nothing", [GROUPS[role] for role in roles])
        for roles in COMBINATIONS
    }
    return FrontEnds(redis_url, f"{provider.issuer}/.well-known/openid-configuration")


def assert_matrix(app: Flask, client: Any, roles: tuple[Role, ...], headers: dict[str, str]) -> None:
    wrong = []
    for method, path, access in protected(app):
        answer = client.open(path, method=method, headers=AT_ONCE | headers, json={} if method != "GET" else None)
        code = (answer.get_json(silent=True) or {}).get("code") if answer.status_code >= 400 else None
        refused = answer.status_code in (401, 403)
        allowed = access in roles or access == SIGNED_IN or bool(access == MAY_CHANGE and {*roles} - {Role.USER})
        if refused is allowed or answer.status_code >= 500:
            wrong.append((method, path, access, answer.status_code, code))
        if refused:
            assert (answer.status_code, code) == (403, "missing-role"), (method, path)
            role = Role.ADMIN if access == MAY_CHANGE else access
            assert role in answer.get_json()["detail"].replace(",", " ").split(), answer.text
            # Only a bearer token could be replaced by one with more scope: a session or password gets no challenge.
            sent_token = headers.get("Authorization", "").startswith("Bearer ")
            assert ("WWW-Authenticate" in answer.headers) is sent_token, (method, path)
        # Otherwise a stream of events, and the thread that reads them, would go on.
        answer.close()
    assert wrong == []


@pytest.mark.parametrize("roles", COMBINATIONS, ids=lambda roles: "+".join(roles) or "none")
class TestMatrix:
    def test_each_role_combination_with_a_session(self, services, roles):
        app = services.app()
        client = app.test_client()
        sign_in(client, "-".join(roles) or "nothing")
        assert_matrix(app, client, roles, {})

    def test_each_role_combination_with_a_bearer_token(self, services, provider, roles):
        app = services.app()
        token = provider.token(preferred_username="x", groups=[GROUPS[role] for role in roles])
        assert_matrix(app, app.test_client(), roles, bearer(token))

    def test_each_role_combination_with_http_basic(self, services, roles):
        app = services.app(roles)
        sent = {"Authorization": "Basic " + base64.b64encode(b"svc:pass").decode()}
        assert_matrix(app, app.test_client(), roles, sent)


def test_every_protected_route_refuses_anonymous_requests(services):
    app = services.app()
    client = app.test_client()
    routes = list(protected(app))

    assert len(routes) > 18
    for method, path, _ in routes:
        answer = client.open(path, method=method, json={} if method != "GET" else None)
        assert (answer.status_code, answer.get_json()["code"]) == (401, "unauthenticated"), (method, path)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
