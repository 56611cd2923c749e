"""Refreshes the groups of sessions from the provider, so that users who lose a group lose its roles."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderRefused, ProviderUnavailable
from api.auth.sessions import Session, Sessions
from api.auth.tokens import InvalidToken
from worker.config.role_groups import groups_in

#: The members of the provider's token response that are stored with a session.
_TOKEN_FIELDS = ("access_token", "refresh_token")


def tokens_to_keep(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokens for later requests to the provider, from its token response."""
    return {name: answer[name] for name in _TOKEN_FIELDS if isinstance(answer.get(name), str)}


class SessionCheck:
    """Refreshes sessions whose groups are too old."""

    def __init__(self, provider: IdentityProvider, sessions: Sessions, max_age_s: int) -> None:
        self._provider = provider
        self._sessions = sessions
        self._max_age_s = max_age_s

    def with_recent_groups(self, user_session: Session) -> Session | None:
        """Return the session of this request with recent groups; None when the provider does not confirm it any more.

        The known groups are used while the provider is unavailable, and while another request asks it.

        Raises:
            SessionStoreUnavailable: Redis is unavailable.
        """
        if self.valid_s(user_session) > 0 or not self._sessions.claim_check():
            return user_session
        try:
            tokens = self._fresh_tokens(user_session)
            asked_s = time.time()
            identity = replace(user_session.identity, groups=self._groups(user_session, tokens))
        except (ProviderRefused, InvalidToken):
            self._sessions.end()
            return None
        except ProviderUnavailable:
            return user_session
        renewed = replace(user_session, identity=identity, checked_s=asked_s)
        self._sessions.update(renewed, tokens_to_keep(tokens))
        return renewed

    def valid_s(self, user_session: Session) -> float:
        """Return for how long the groups of a session may still be used (seconds); 0 or less: they are too old.

        So are those of a time to come: the clock was set back since.
        """
        return self._max_age_s - abs(time.time() - user_session.checked_s)

    def _fresh_tokens(self, user_session: Session) -> dict[str, Any]:
        """Return new tokens, stored at once: the provider may take the old refresh token no more."""
        tokens = self._sessions.tokens_of(user_session)
        if not tokens.get("refresh_token"):
            return tokens
        tokens |= self._provider.refresh(tokens["refresh_token"])
        self._sessions.update(user_session, tokens_to_keep(tokens))
        return tokens

    def _groups(self, user_session: Session, tokens: Mapping[str, Any]) -> tuple[str, ...]:
        access_token, settings = str(tokens.get("access_token") or ""), self._provider.settings
        if not access_token:
            raise InvalidToken("there is none")
        if settings.asks_groups_url:
            return self._provider.groups({}, access_token)
        claims = self._claims(user_session.identity.subject, tokens, access_token)
        groups = groups_in(claims, settings.oauth_groups_claim)
        if groups is None and not self._has_new_id_token(tokens):
            raise InvalidToken("it tells no groups")
        return groups or ()

    def _claims(self, subject: str, tokens: Mapping[str, Any], access_token: str) -> dict[str, Any]:
        """Return the claims of ID token and user info, which both must be about ``subject``."""
        claims: dict[str, Any] = {}
        if self._has_new_id_token(tokens):
            client_id = self._provider.settings.oauth_client_id
            claims = self._provider.verifier.claims(str(tokens["id_token"]), audience=client_id)
        userinfo = self._provider.ask_userinfo(access_token)
        if any(about.get("sub", subject) != subject for about in (claims, userinfo)):
            raise InvalidToken("it is somebody else's")
        return userinfo | claims

    @staticmethod
    def _has_new_id_token(tokens: Mapping[str, Any]) -> bool:
        """Is there a new ID token? It is not stored with the session."""
        return "id_token" in tokens
