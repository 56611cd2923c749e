"""Credentials that do not change: a token, or a user name and password."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from storage_api_client.protocol.messages import Flow
from storage_api_client.protocol.retries import Anonymous, Credentials


class StaticCredentials(Anonymous):
    """Headers that are the same for each request."""

    def __init__(self, **headers: str) -> None:
        self._headers = headers

    def headers(self) -> Flow[Mapping[str, str]]:
        """Return them."""
        yield from ()
        return self._headers


def bearer(token: str) -> StaticCredentials:
    """Return the credentials of a bearer token.

    Raises:
        ValueError: it has characters that no token has.
    """
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("The token is none: it has blanks, line breaks or characters that tokens do not have.")
    return StaticCredentials(Authorization=f"Bearer {token}")


def basic(user: str, password: str) -> StaticCredentials:
    """Return the credentials of HTTP Basic (RFC 7617)."""
    return StaticCredentials(Authorization="Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


def credentials_of(token: str | None, user_and_password: tuple[str, str] | None) -> Credentials:
    """Return the credentials of either, or none."""
    if token:
        return bearer(token)
    return basic(*user_and_password) if user_and_password else Anonymous()
