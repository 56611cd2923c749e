"""Adds authentication to an application."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import redis
from flask import Flask
from flask_smorest import Blueprint

from api.auth import audit
from api.auth import rate_limits as limits
from api.auth.basic import BasicUser
from api.auth.bearer import BearerAuthenticator
from api.auth.conf import conf_blueprint
from api.auth.ended_sessions import sessions_blueprint
from api.auth.forwarding import ForwardingMiddleware
from api.auth.login import login_blueprint
from api.auth.principals import RoleMapping
from api.auth.provider import IdentityProvider
from api.auth.resource_metadata import metadata_blueprint
from api.auth.services import EXTENSION, AuthServices
from api.auth.session_check import SessionCheck
from api.auth.session_cookies import configure_cookies
from api.auth.sessions import Sessions
from api.auth.settings import AuthSettings
from worker.catalog.operations import Role
from worker.config.settings import BadSettings
from worker.store.client import short_timeout_pool
from worker.store.sign_in_attempts import SignInAttempts

logger = logging.getLogger(__name__)


def init_app(
    app: Flask,
    settings: AuthSettings,
    *,
    register_blueprint: Callable[[Blueprint], None],
    client: redis.Redis,
    prefix: str,
) -> None:
    """Add sessions, the sign-in and ``/conf`` routes, the audit log, and the handling of trusted proxies to ``app``.

    Args:
        app: the application.
        settings: the configuration.
        register_blueprint: serves a blueprint, and adds its routes to the OpenAPI document.
        client: Redis, where sessions are kept.
        prefix: start of the keys there.
    """
    _trust_proxies(app, settings)
    configure_cookies(app, settings)
    audit.init_app(app, settings.audit_log, settings.audit_rate)
    short_timeout = redis.Redis(connection_pool=short_timeout_pool(client.connection_pool))
    sessions = Sessions(client, prefix, lifetime_s=settings.session_lifetime, idle_s=settings.session_idle)
    app.extensions[EXTENSION] = _auth_services(settings, sessions, _attempts(settings, short_timeout, prefix))
    register_blueprint(
        login_blueprint(has_basic=settings.has_basic, callback_path=settings.oauth_callback_url_relative)
    )
    register_blueprint(conf_blueprint)
    register_blueprint(metadata_blueprint)
    register_blueprint(sessions_blueprint)
    if settings.limits_submits:
        limits.init_app(app, settings.rate_limit, short_timeout.connection_pool, prefix)
    _warn(settings)


def check_callback_path(app: Flask, path: str) -> None:
    """Check that the provider sends browsers to the route that ends a sign-in; after all routes were added.

    Raises:
        BadSettings: another route is there.
    """
    # Where a route with variables would fit, too, a path without any goes before it.
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules() if rule.rule == path}
    if len(endpoints) > 1 or path.startswith(("/v3/", "/v4/")):
        raise BadSettings(f"SAPI_OAUTH_CALLBACK_URL_RELATIVE: {path} is the address of something else: choose another")


def _attempts(settings: AuthSettings, client: redis.Redis, prefix: str) -> SignInAttempts:
    return SignInAttempts(
        client, prefix, per_network=settings.sign_in_network_limit, per_user=settings.sign_in_user_limit
    )


def _auth_services(settings: AuthSettings, sessions: Sessions, attempts: SignInAttempts) -> AuthServices:
    provider = IdentityProvider(settings) if settings.has_provider else None
    return AuthServices(
        settings=settings,
        sessions=sessions,
        roles=RoleMapping(settings),
        basic=BasicUser(settings, attempts) if settings.has_basic else None,
        bearer=BearerAuthenticator(provider) if provider else None,
        provider=provider,
        session_check=SessionCheck(provider, sessions, settings.roles_max_age) if provider else None,
    )


def _trust_proxies(app: Flask, settings: AuthSettings) -> None:
    app.wsgi_app = ForwardingMiddleware(  # type: ignore[method-assign]
        app.wsgi_app,
        networks=settings.proxy_networks,
        hops=settings.trusted_proxies,
        public_url=settings.public_url,
    )


def _warn(settings: AuthSettings) -> None:
    for field, old in settings.predecessor_names.items():
        new = f"SAPI_{field.upper()}"
        if os.environ.get(old) and not (os.environ.get(new) or os.environ.get(f"{new}_FILE")):
            logger.warning("%s is read in the place of %s, which is not set: rename it.", old, new)
    if settings.trusted_proxies and not settings.trusted_networks:
        logger.warning("SAPI_TRUSTED_PROXIES counts for nothing without SAPI_TRUSTED_NETWORKS: no proxy is believed.")
    if settings.debug:
        logger.warning(
            "DEBUG MODE: /login gives EVERY ROLE to whoever runs on this machine. Never use it in production."
        )
    if settings.basic_auth_username and not settings.has_basic:
        logger.warning("HTTP Basic is off: SAPI_BASIC_AUTH_USERNAME is set, SAPI_BASIC_AUTH_PASSWORD is not.")
    missing = [role for role in settings.basic_auth_roles if role is not Role.USER and not settings.groups_of[role]]
    if settings.has_basic and missing and not settings.debug:
        logger.warning("No group has the role %s, so it does not exist, for HTTP Basic neither.", ", ".join(missing))
