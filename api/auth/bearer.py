"""Bearer tokens: whose they are, checked against the provider's keys, or by asking the provider."""

from __future__ import annotations

from api.auth.principals import Identity


class BadToken(Exception):
    """This token proves nothing; the message says why."""


class BearerTokens:
    """Tokens of the configured provider."""

    def identity(self, token: str) -> Identity:
        """Whose token it is.

        Raises:
            BadToken: nobody's.
        """
        raise BadToken("it is not known")
