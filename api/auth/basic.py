"""The one user of HTTP Basic, for sites that have no provider or need a way in when it is away."""

from __future__ import annotations

import hmac

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from api.auth.settings import AuthSettings

#: Wrong passwords that one address may send, to each API process; then it is not even listened to.
WRONG_PASSWORDS = "300/minute"


class BasicUser:
    """A name and a password, compared in constant time, and not to be guessed."""

    def __init__(self, settings: AuthSettings) -> None:
        self.name = settings.basic_auth_username
        self._password = settings.basic_auth_password
        self._rate = parse(WRONG_PASSWORDS)
        self._wrong = FixedWindowRateLimiter(MemoryStorage())

    def allows_attempt(self, address: str) -> bool:
        """Have few enough wrong passwords come from there lately?"""
        return self._wrong.test(self._rate, address)

    def record_failure(self, address: str) -> None:
        """Count a wrong password that came from there."""
        self._wrong.hit(self._rate, address)

    def is_it(self, name: str | None, password: str | None) -> bool:
        """Check name and password in constant time."""
        same_name = hmac.compare_digest((name or "").encode(), self.name.encode())
        same_password = hmac.compare_digest((password or "").encode(), self._password.get_secret_value().encode())
        return same_name and same_password
