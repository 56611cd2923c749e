"""The provider's grants, with Authlib: codes that work once and need PKCE, machines, introspection."""

from __future__ import annotations

import secrets
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core import OpenIDCode

from tests.identity_provider.directory import Client, Code, Token, User

METHODS = ["client_secret_basic", "client_secret_post"]


class CodeGrant(AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (*METHODS, "none")

    def validate_authorization_request(self) -> str:
        # Authlib asks public clients only for a challenge; we are stricter, to see that it is sent.
        if self.request.payload.data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE with S256 is needed")
        return str(super().validate_authorization_request())

    def save_authorization_code(self, code: str, request: Any) -> None:
        parameters = request.payload.data
        self.server.provider.codes[code] = Code(
            code,
            request.client.id,
            request.payload.redirect_uri,
            request.payload.scope or "",
            parameters.get("nonce"),
            parameters.get("code_challenge"),
            parameters.get("code_challenge_method"),
            request.user,
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        entry = self.server.provider.codes.get(code)
        return entry if entry and entry.client_id == client.id else None

    def delete_authorization_code(self, authorization_code: Code) -> None:
        self.server.provider.codes.pop(authorization_code.code, None)

    def authenticate_user(self, authorization_code: Code) -> User:
        return authorization_code.user


class ClientGrant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS


class OpenID(OpenIDCode):
    def __init__(self, provider: Any) -> None:
        super().__init__()
        self._provider = provider

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return any(code.nonce == nonce for code in self._provider.codes.values())

    def resolve_client_private_key(self, client: Client) -> Any:
        return self._provider.key

    def get_client_algorithm(self, client: Client) -> str:
        return "RS256"

    def get_encode_header(self, client: Client) -> dict[str, str]:
        return {"alg": "RS256", "kid": self._provider.key.kid}

    def get_client_claims(self, client: Client) -> dict[str, str]:
        return {"iss": self._provider.issuer}

    def generate_user_info(self, user: User, scope: str) -> dict[str, Any]:
        return {name: value for name, value in user.claims().items() if name not in self._provider.hidden_claims}


class AccessTokens(JWTBearerTokenGenerator):
    def __init__(self, provider: Any) -> None:
        super().__init__(issuer=provider.issuer, refresh_token_generator=self._refresh_token)
        self._provider = provider

    def _refresh_token(self, **about: Any) -> str:
        return secrets.token_urlsafe(24)

    def get_jwks(self) -> Any:
        return self._provider.key

    def get_audiences(self, client: Client, user: User | None, scope: str) -> str:
        return self._provider.audience or client.id

    def get_extra_claims(self, client: Client, grant_type: str, user: User | None, scope: str) -> dict[str, Any]:
        claims = user.claims() if user else {"groups": client.groups}
        return {name: value for name, value in claims.items() if name not in self._provider.hidden_claims}


class Introspection(IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        token: Token | None = self.server.provider.tokens.get(token_string)
        return token

    def check_permission(self, token: Token, client: Client, request: Any) -> bool:
        return True

    def introspect_token(self, token: Token) -> dict[str, Any]:
        provider = self.server.provider
        claims = {"client_id": token.client.id, "exp": int(token.expires_at), "iss": provider.issuer}
        return claims | {"aud": provider.audience or token.client.id} | token.claims()


CHALLENGE = CodeChallenge(required=True)
