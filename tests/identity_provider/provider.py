"""The provider's server: a thread of its own on a free port, with a log of its requests."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import Counter
from functools import cache
from ssl import SSLContext
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

from tests.identity_provider.directory import Client, Code, Token, User
from tests.identity_provider.grants import CHALLENGE, AccessTokens, ClientGrant, CodeGrant, Introspection, OpenID
from tests.identity_provider.programs import DeviceEndpoint, DeviceGrant, Refresh

_FORM = """<!doctype html><title>Sign in</title><form method=post><label>User <input name=user></label>
<button>Sign in</button></form>"""

#: An RSA key takes 50 ms to generate. These are used again in turn: no two providers of a test have the same one,
#: and no provider has the same one twice in one test.
_KEYS = 8
_key_numbers = itertools.count()


@cache
def _key(_number: int) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig", "alg": "RS256"})


class IdentityProvider:
    """Tests add users, clients and failures.

    Args:
        host: The address that it listens on, and has in its issuer.
        tls: Its certificate; without one it speaks HTTP.
    """

    def __init__(self, host: str = "127.0.0.1", tls: SSLContext | None = None) -> None:
        self.users: dict[str, User] = {}
        self.clients: dict[str, Client] = {}
        self.codes: dict[str, Code] = {}
        self.tokens: dict[str, Token] = {}
        self.refresh_tokens: dict[str, Token] = {}
        #: What devices ask for, and who allowed it or not, by the code that a user types.
        self.devices: dict[str, Any] = {}
        self.allowed: dict[str, tuple[User, bool]] = {}
        self.has_device_flow = False
        self.request_counts: Counter[str] = Counter()
        self.audience = ""
        #: Claims that tokens do not hold: they must be requested elsewhere.
        self.hidden_claims: set[str] = set()
        #: Issue opaque access tokens.
        self.opaque = False
        #: While this is not set, no answer is given.
        self.awake = threading.Event()
        self.awake.set()
        self.keys: list[RSAKey] = []
        self.rotate_key()
        app = Flask("identity-provider")
        self._server = make_server(host, 0, app, threaded=True, ssl_context=tls)
        self.issuer = f"{'https' if tls else 'http'}://{host}:{self._server.server_port}"
        self._authorization = self._authlib(app)
        self._route(app)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.awake.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    @property
    def key(self) -> RSAKey:
        return self.keys[-1]

    def rotate_key(self, *, keep_old: bool = False) -> None:
        """Sign with a new key from now on."""
        new = _key(next(_key_numbers) % _KEYS)
        self.keys = [*self.keys, new] if keep_old else [new]

    def token(self, *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        """A token with any claims, signed with any key; None removes a claim."""
        now = int(time.time())
        all_claims = {"iss": self.issuer, "aud": "storage-api", "sub": "id-of-x", "iat": now, "exp": now + 300} | claims
        head = {"alg": "RS256", "typ": "at+jwt", "kid": self.key.kid} | (header or {})
        return jwt.encode(
            {name: value for name, value in head.items() if value is not None},
            {name: value for name, value in all_claims.items() if value is not None},
            key or self.key,
            algorithms=[head["alg"]],
        )

    def _authlib(self, app: Flask) -> AuthorizationServer:
        server = AuthorizationServer(app, query_client=self._client, save_token=self._save)
        server.provider = self
        server.register_grant(CodeGrant, [CHALLENGE, OpenID(self)])
        server.register_grant(ClientGrant)
        server.register_grant(Refresh)
        server.register_grant(DeviceGrant)
        server.register_endpoint(Introspection)
        server.register_endpoint(DeviceEndpoint)
        readable, unreadable = AccessTokens(self), server._token_generators["default"]

        def generate(*args: Any, **options: Any) -> Any:
            return (unreadable if self.opaque else readable)(*args, **options)

        server.register_token_generator("default", generate)
        return server

    def _client(self, client_id: str) -> Client | None:
        return self.clients.get(client_id)

    def _save(self, token: dict[str, Any], request: Any) -> None:
        expires_at = time.time() + token.get("expires_in", 3600)
        self.tokens[token["access_token"]] = Token(token["access_token"], request.client, request.user, expires_at)
        if "refresh_token" in token:
            text = token["refresh_token"]
            self.refresh_tokens[text] = Token(text, request.client, request.user, expires_at)

    def _route(self, app: Flask) -> None:
        @app.before_request
        def count() -> None:
            self.request_counts[request.path] += 1
            self.awake.wait(30)

        app.add_url_rule("/.well-known/openid-configuration", view_func=self._discovery)
        app.add_url_rule("/jwks", view_func=self._jwks)
        app.add_url_rule("/authorize", view_func=self._authorize, methods=["GET", "POST"])
        app.add_url_rule("/token", view_func=self._token_endpoint, methods=["POST"])
        app.add_url_rule("/introspect", view_func=self._introspect, methods=["POST"])
        app.add_url_rule("/userinfo", view_func=self._userinfo)
        app.add_url_rule("/groups", view_func=self._groups)
        app.add_url_rule("/device_authorization", view_func=self._device_authorization, methods=["POST"])
        app.add_url_rule("/device", view_func=self._device, methods=["POST"])

    def _discovery(self) -> Response:
        device = {"device_authorization_endpoint": f"{self.issuer}/device_authorization"}
        return jsonify(
            **(device if self.has_device_flow else {}),
            issuer=self.issuer,
            authorization_endpoint=f"{self.issuer}/authorize",
            token_endpoint=f"{self.issuer}/token",
            jwks_uri=f"{self.issuer}/jwks",
            userinfo_endpoint=f"{self.issuer}/userinfo",
            introspection_endpoint=f"{self.issuer}/introspect",
            token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"],
        )

    def _jwks(self) -> Response:
        return jsonify(keys=[key.as_dict(private=False) for key in self.keys])

    def _authorize(self) -> Any:
        try:
            grant = self._authorization.get_consent_grant(end_user=None)
        except OAuth2Error as error:
            return self._authorization.handle_error_response(None, error)
        if request.method == "GET":
            return _FORM
        user = self.users.get(request.form.get("user", ""))
        return self._authorization.create_authorization_response(grant=grant, grant_user=user)

    def _token_endpoint(self) -> Any:
        return self._authorization.create_token_response()

    def _device_authorization(self) -> Any:
        return self._authorization.create_endpoint_response(DeviceEndpoint.ENDPOINT_NAME)

    def _device(self) -> Any:
        self.allowed[request.form["user_code"]] = (self.users[request.form["user"]], "allow" in request.form)
        return "Go back to your device."

    def _introspect(self) -> Any:
        return self._authorization.create_endpoint_response("introspection")

    def _owner(self) -> Token | None:
        token = self.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        return token if token and not token.is_expired() else None

    def _userinfo(self) -> Any:
        owner = self._owner()
        return jsonify(owner.claims()) if owner else ("", 401)

    def _groups(self) -> Any:
        owner = self._owner()
        return jsonify(groups=owner.claims()["groups"]) if owner else ("", 401)
