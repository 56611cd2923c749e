"""A small service with one change for each role, to sign in to."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
import requests
from flask import Flask, Response, jsonify
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import auth
from api.http.problems import Problem, problem_response
from tests.identity_provider.fixtures import CLIENT_ID, CLIENT_SECRET
from tests.identity_provider.provider import IdentityProvider
from worker.catalog.operations import Role
from worker.config.settings import load

SECRET_KEY = "a secret key for tests, only for tests"
GROUPS = {"role_admin_groups": ("it db, admins",), "role_uber_admin_groups": ("uber", "sub:robot")}
PREFIX = "sapi:"


def build(client: redis.Redis, **settings: Any) -> Flask:
    """The service, with these settings."""
    app = Flask("auth")
    app.register_error_handler(Problem, problem_response)
    settings = {"secret_key": SECRET_KEY, "rate_limit": "off"} | settings
    auth_settings = load(auth.AuthSettings, **settings)
    auth.init_app(app, auth_settings, register_blueprint=app.register_blueprint, client=client, prefix=PREFIX)
    app.add_url_rule("/v4/needs/<role>", view_func=needs, methods=["GET", "POST"])
    app.add_url_rule("/whoami", view_func=whoami)
    app.add_url_rule("/owner", endpoint="owner", view_func=lambda: auth.principal().owner)
    app.add_url_rule("/healthz", endpoint="healthz", view_func=lambda: "ok")
    return app


def with_provider(client: redis.Redis, provider: IdentityProvider, **settings: Any) -> Flask:
    """The service, with a provider that is discovered."""
    discovery = f"{provider.issuer}/.well-known/openid-configuration"
    defaults = {"oauth_discovery_url": discovery, "oauth_client_id": CLIENT_ID, "oauth_secret_key": CLIENT_SECRET}
    return build(client, **(GROUPS | defaults | settings))


def needs(role: str) -> Response:
    auth.require(Role(role), operation="try_it")
    return jsonify(done=True)


def whoami() -> Response:
    user = auth.principal()
    return jsonify(name=user.name, roles=sorted(user.roles), auth_method=user.method)


def sign_in(client: FlaskClient, user: str, next_: str = "/") -> TestResponse:
    """Go to the provider, sign in there as ``user``, and come back."""
    return client.get(callback_of(client, user, next_))


def callback_of(client: FlaskClient, user: str, next_: str = "/") -> str:
    """Where the provider sends ``user`` after signing in: a path of the service."""
    leaving = client.get("/login", query_string={"next": next_})
    assert leaving.status_code == 302, leaving.text
    answer = requests.post(leaving.headers["Location"], data={"user": user}, allow_redirects=False, timeout=20)
    assert answer.status_code == 302, answer.text
    location = urlsplit(answer.headers["Location"])
    return f"{location.path}?{location.query}"


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def roles_of(client: FlaskClient, **options: Any) -> set[str]:
    answer = client.get("/conf/me/roles", **options)
    assert answer.status_code == 200, answer.text
    return set(answer.get_json())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def code_of(answer: Any) -> tuple[int, str]:
    """Status and code of a problem."""
    return (answer.status_code, answer.get_json()["code"])
