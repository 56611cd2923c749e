"""The shared objects of authentication, built once for each application."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from api.auth.basic import BasicUser
from api.auth.bearer import BearerAuthenticator
from api.auth.principals import RoleMapping
from api.auth.provider import IdentityProvider
from api.auth.session_check import SessionCheck
from api.auth.sessions import Sessions
from api.auth.settings import AuthSettings

EXTENSION = "storage-api-auth"


@dataclass(frozen=True)
class AuthServices:
    """The shared objects of authentication."""

    settings: AuthSettings
    sessions: Sessions
    roles: RoleMapping
    basic: BasicUser | None
    bearer: BearerAuthenticator | None
    provider: IdentityProvider | None
    session_check: SessionCheck | None


def auth_services() -> AuthServices:
    """Return those of the current application."""
    services = current_app.extensions[EXTENSION]
    assert isinstance(services, AuthServices)  # noqa: S101 - put there by init_app
    return services
