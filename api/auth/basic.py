"""The one user of HTTP Basic, for sites that have no provider or need a way in when it is away."""

from __future__ import annotations

import hmac

from api.auth.settings import AuthSettings


class BasicUser:
    """A name and a password, compared in constant time."""

    def __init__(self, settings: AuthSettings) -> None:
        self.name = settings.basic_auth_username
        self._password = settings.basic_auth_password

    def is_it(self, name: str | None, password: str | None) -> bool:
        """Is this the user? Both are always compared, so that time tells neither."""
        same_name = hmac.compare_digest((name or "").encode(), self.name.encode())
        same_password = hmac.compare_digest((password or "").encode(), self._password.get_secret_value().encode())
        return same_name and same_password
