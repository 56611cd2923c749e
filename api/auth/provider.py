"""The sign-in provider (OAuth2 or OpenID Connect), as this service's client knows it."""

from __future__ import annotations


class Provider:
    """Sends browsers to sign in, and learns who they are when they come back."""
