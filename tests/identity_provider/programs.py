"""What programs on their users' machines need: the device flow (RFC 8628), and refresh tokens that work once."""

from __future__ import annotations

from typing import Any

from authlib.oauth2.rfc6749.grants import RefreshTokenGrant
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialDict

from tests.identity_provider.directory import Token, User


class Refresh(RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        token: Token | None = self.server.provider.refresh_tokens.get(refresh_token)
        return token

    def authenticate_user(self, refresh_token: Token) -> User | None:
        return refresh_token.user

    def revoke_old_credential(self, refresh_token: Token) -> None:
        self.server.provider.refresh_tokens.pop(refresh_token.text)


class DeviceEndpoint(DeviceAuthorizationEndpoint):
    INTERVAL = 1

    def get_verification_uri(self) -> str:
        return f"{self.server.provider.issuer}/device"

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        credential = DeviceCredentialDict(client_id=client_id, scope=scope, **data)
        self.server.provider.devices[data["device_code"]] = credential


class DeviceGrant(DeviceCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def query_device_credential(self, device_code: str) -> DeviceCredentialDict | None:
        credential: DeviceCredentialDict | None = self.server.provider.devices.get(device_code)
        return credential

    def query_user_grant(self, user_code: str) -> tuple[User, bool] | None:
        grant: tuple[User, bool] | None = self.server.provider.allowed.get(user_code)
        return grant

    def should_slow_down(self, credential: DeviceCredentialDict) -> bool:
        return False
