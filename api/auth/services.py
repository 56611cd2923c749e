"""The parts that signing in works with, built once for an application, and found again by the request at hand."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from api.auth.basic import BasicUser
from api.auth.bearer import BearerTokens
from api.auth.principals import RoleBook
from api.auth.provider import Provider
from api.auth.sessions import Sessions
from api.auth.settings import AuthSettings

EXTENSION = "storage-api-auth"


@dataclass(frozen=True)
class Desk:
    """Where requests show who they are."""

    settings: AuthSettings
    sessions: Sessions
    roles: RoleBook
    basic: BasicUser | None
    bearer: BearerTokens | None
    provider: Provider | None


def desk() -> Desk:
    """Return the parts of the application at hand."""
    held = current_app.extensions[EXTENSION]
    assert isinstance(held, Desk)  # noqa: S101 - put there by init_app
    return held
