"""Whom the provider knows: users, clients, codes and tokens, as Authlib wants to see them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE


@dataclass
class User:
    name: str
    groups: list[str] = field(default_factory=list)
    #: The id stays when the name changes.
    subject: str = ""

    def get_user_id(self) -> str:
        return self.subject or f"id-of-{self.name}"

    def claims(self) -> dict[str, Any]:
        return {"sub": self.get_user_id(), "preferred_username": self.name, "groups": self.groups}


@dataclass
class Client(ClientMixin):
    id: str
    secret: str
    redirect_uris: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    #: A program on its users' machines, which has no secret (RFC 8252).
    public: bool = False

    def get_client_id(self) -> str:
        return self.id

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uris[0]

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        # Of a program on its users' machines any port of the loopback interface is taken.
        return redirect_uri.startswith("http://127.0.0.1:") if self.public else redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "none" if self.public else method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        if self.public:
            return grant_type in ("authorization_code", "refresh_token", DEVICE_CODE_GRANT_TYPE)
        return grant_type in ("authorization_code", "client_credentials", "refresh_token")


@dataclass
class Code(AuthorizationCodeMixin):
    code: str
    client_id: str
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None
    user: User

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


@dataclass
class Token(TokenMixin):
    text: str
    client: Client
    user: User | None
    expires_at: float
    revoked: bool = False

    def check_client(self, client: Client) -> bool:
        return client.id == self.client.id

    def get_scope(self) -> str:
        return ""

    def get_expires_in(self) -> int:
        return int(self.expires_at - time.time())

    def is_expired(self) -> bool:
        return self.expires_at < time.time()

    def is_revoked(self) -> bool:
        return self.revoked

    def claims(self) -> dict[str, Any]:
        """Whom it stands for: a user, or the client itself."""
        return self.user.claims() if self.user else {"sub": self.client.id, "groups": self.client.groups}
