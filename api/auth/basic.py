"""The one user of HTTP Basic, for sites without a provider, or for when the provider is unavailable."""

from __future__ import annotations

import hmac

from api.auth.recent_sign_ins import RecentSignIns
from api.auth.settings import AuthSettings
from worker.store.sign_in_attempts import SignInAttempts


class BasicUser:
    """A name and a password, compared in constant time, with a limit on attempts."""

    def __init__(self, settings: AuthSettings, attempts: SignInAttempts) -> None:
        self.name = settings.basic_auth_username
        self.attempts = attempts
        self.recent = RecentSignIns()
        self._password = settings.basic_auth_password

    def matches(self, name: str, password: str) -> bool:
        """Check name and password in constant time."""
        same_name = hmac.compare_digest(name.encode(), self.name.encode())
        same_password = hmac.compare_digest(password.encode(), self._password.get_secret_value().encode())
        return same_name and same_password
