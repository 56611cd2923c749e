"""The groups of a session, asked of the provider anew before they are too old: who lost one loses its rights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderRefused, ProviderUnavailable
from api.auth.sessions import Session, Sessions
from api.auth.tokens import InvalidToken
from worker.config.groups import groups_in

#: What of the provider's answer is kept with a session.
_KEPT = ("access_token", "refresh_token")


def tokens_to_keep(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What the provider is asked with later, of its answer to a sign-in."""
    return {name: answer[name] for name in _KEPT if isinstance(answer.get(name), str)}


class SessionCheck:
    """Looks at sessions whose groups are old."""

    def __init__(self, provider: IdentityProvider, sessions: Sessions, max_age_s: int) -> None:
        self._provider = provider
        self._sessions = sessions
        self._max_age_s = max_age_s

    def checked(self, kept: Session) -> Session | None:
        """The session of this request with groups that are recent; None when the provider gives none any more.

        While the provider is away the groups that are known count, and while another request asks it.

        Raises:
            SessionStoreUnavailable: Redis is away.
        """
        if time.time() - kept.checked_s < self._max_age_s or not self._sessions.claim_check():
            return kept
        try:
            tokens = self._fresh_tokens(self._sessions.tokens_of(kept))
            renewed = replace(kept, identity=replace(kept.identity, groups=self._groups(kept, tokens)))
        except (ProviderRefused, InvalidToken):
            self._sessions.end()
            return None
        except ProviderUnavailable:
            return kept
        self._sessions.update(renewed, tokens_to_keep(tokens))
        return renewed

    def _fresh_tokens(self, tokens: dict[str, Any]) -> dict[str, Any]:
        if not tokens.get("refresh_token"):
            return tokens
        return tokens | self._provider.refresh(tokens["refresh_token"])

    def _groups(self, kept: Session, tokens: Mapping[str, Any]) -> tuple[str, ...]:
        access_token, settings = str(tokens.get("access_token") or ""), self._provider.settings
        if not access_token:
            raise InvalidToken("there is none")
        if settings.asks_groups_url:
            return self._provider.groups({}, access_token)
        claims = self._claims(tokens, access_token)
        if claims.get("sub", kept.identity.subject) != kept.identity.subject:
            raise InvalidToken("it is somebody else's")
        groups = groups_in(claims, settings.oauth_groups_claim)
        if groups is None and not self._was_asked_anew(tokens):
            raise InvalidToken("it tells no groups")
        return groups or ()

    def _claims(self, tokens: Mapping[str, Any], access_token: str) -> dict[str, Any]:
        """What ID token and user info say now."""
        claims: dict[str, Any] = {}
        if self._was_asked_anew(tokens):
            client_id = self._provider.settings.oauth_client_id
            claims = self._provider.verifier.claims(str(tokens["id_token"]), audience=client_id)
        return self._provider.ask_userinfo(access_token) | claims

    @staticmethod
    def _was_asked_anew(tokens: Mapping[str, Any]) -> bool:
        """Is there an ID token of just now? None is kept with the session."""
        return "id_token" in tokens
