"""The way to the sign-in provider and back: OAuth2's code flow with state, nonce and PKCE."""

from __future__ import annotations

from werkzeug.wrappers import Response

from api.auth.access import refuse_without_provider
from api.auth.principals import Identity
from api.auth.provider import Provider
from api.auth.sessions import Sessions


def leave_for_provider(provider: Provider, target: str) -> Response:
    """Send the browser to the provider."""
    refuse_without_provider()


def come_back(provider: Provider, sessions: Sessions) -> tuple[Identity, str]:
    """Return who came back from the provider, and where to lead them."""
    refuse_without_provider()
