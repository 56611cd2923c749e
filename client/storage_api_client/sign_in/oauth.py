"""OAuth 2.0 with an OpenID Connect provider: device flow, authorization code with PKCE, client credentials, renewal."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from storage_api_client.addresses import is_loopback
from storage_api_client.protocol.messages import Flow, Pause, Request, Response, send

_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_WELL_KNOWN = "/.well-known/openid-configuration"
_RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
_SLOWER_S = 5.0
_KEPT = ("access_token", "refresh_token")


class OAuthError(Exception):
    """The provider refused a request; the message is a sentence.

    Attributes:
        is_temporary: it said nothing of the request: it is overloaded, or in error.
    """

    def __init__(self, detail: str, code: str = "", *, is_temporary: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.is_temporary = is_temporary


@dataclass(frozen=True)
class Provider:
    """An identity provider, with the client's registration there."""

    metadata: Mapping[str, Any]
    client_id: str
    client_secret: str | None = None
    scope: str = "openid profile email offline_access"
    audience: str | None = None

    @property
    def has_device_flow(self) -> bool:
        """Does the provider support the device flow?"""
        return bool(self.metadata.get("device_authorization_endpoint"))

    def endpoint(self, name: str) -> str:
        """Return an endpoint's address.

        Raises:
            OAuthError: the provider has none, or one to which secrets must not be sent.
        """
        url = str(self.metadata.get(f"{name}_endpoint", ""))
        if not url:
            raise OAuthError(f"The provider has no {name} endpoint.")
        if urlsplit(url).scheme != "https" and not is_loopback(url):
            raise OAuthError(f"The provider's {name} endpoint {url} is not https.")
        return url

    def form(self, **more: str) -> dict[str, str]:
        """Return a form with the client's identification."""
        client_fields = {"client_id": self.client_id, "client_secret": self.client_secret, "audience": self.audience}
        return {name: value for name, value in client_fields.items() if value} | more


def discover(issuer: str) -> Flow[Mapping[str, Any]]:
    """Return a provider's metadata (OpenID Connect Discovery 1.0).

    Raises:
        OAuthError: there are none, or they are another issuer's.
    """
    base = issuer.rstrip("/").removesuffix(_WELL_KNOWN)
    if urlsplit(base).scheme != "https" and not is_loopback(base):
        raise OAuthError(f"The issuer {base} is not an https address.")
    metadata = _document((yield from send(Request("GET", f"{base}{_WELL_KNOWN}"))))
    if str(metadata.get("issuer", "")).rstrip("/") != base:
        raise OAuthError(f"{base} says that it is {metadata.get('issuer')!r}: check the issuer.")
    return metadata


@dataclass(frozen=True)
class ResourceMetadata:
    """The protected resource metadata of a service (RFC 9728)."""

    issuer: str | None = None
    client_id: str | None = None
    audience: str | None = None


def get_resource_metadata(url: str) -> Flow[ResourceMetadata]:
    """Return the resource metadata of the service at ``url``; all members are None if it has none.

    Raises:
        OAuthError: the metadata are those of another service.
    """
    response = yield from send(Request("GET", _RESOURCE_METADATA))
    if response.status != HTTPStatus.OK:
        return ResourceMetadata()
    metadata = _document(response)
    if metadata.get("resource") != url.rstrip("/"):
        raise OAuthError(f"{url} says that it is {metadata.get('resource')!r}: use that address, or name --issuer.")
    servers = metadata.get("authorization_servers") or [None]
    return ResourceMetadata(servers[0], metadata.get("client_id"), metadata.get("audience"))


def _document(response: Response) -> Mapping[str, Any]:
    """The JSON response of a provider.

    Raises:
        OAuthError: the response is an error.
    """
    try:
        body = response.json()
    except ValueError:
        body = None
    is_temporary = response.status in (429, *range(500, 600))
    if not isinstance(body, Mapping):
        detail = f"The provider answers {response.status}, and no JSON: check the issuer."
        raise OAuthError(detail, is_temporary=is_temporary)
    if "error" in body or response.status >= HTTPStatus.BAD_REQUEST:
        code = str(body.get("error", response.status))
        detail = f"The provider refuses: {body.get('error_description') or code}."
        raise OAuthError(detail, code, is_temporary=is_temporary)
    return body


def _token(provider: Provider, **form: str) -> Flow[dict[str, Any]]:
    """Request tokens from the token endpoint; returns the members to store."""
    request = Request("POST", provider.endpoint("token"), form=provider.form(**form))
    body = _document((yield from send(request)))
    if "access_token" not in body:
        raise OAuthError("The provider gave no access token.")
    entry: dict[str, Any] = {name: body[name] for name in _KEPT if name in body}
    if isinstance(body.get("expires_in"), int | float):
        entry["expires_at"] = time.time() + body["expires_in"]
    return entry


def client_credentials(provider: Provider) -> Flow[dict[str, Any]]:
    """Sign in with client credentials (RFC 6749, 4.4)."""
    return (yield from _token(provider, grant_type="client_credentials", scope=provider.scope))


def device_flow(provider: Provider, show: Callable[[str, str, str | None], None]) -> Flow[dict[str, Any]]:
    """Sign in on another device (RFC 8628).

    ``show`` is called with the verification URI, the user code, and the URI that includes the code, or None.
    """
    request = Request("POST", provider.endpoint("device_authorization"), form=provider.form(scope=provider.scope))
    authorization = _document((yield from send(request)))
    show(
        str(authorization["verification_uri"]),
        str(authorization["user_code"]),
        authorization.get("verification_uri_complete"),
    )
    pause_s = float(authorization.get("interval", _SLOWER_S))
    ends_at = time.monotonic() + float(authorization.get("expires_in", 600))
    while time.monotonic() < ends_at:
        yield Pause(pause_s)
        try:
            return (yield from _token(provider, grant_type=_DEVICE, device_code=str(authorization["device_code"])))
        except OAuthError as error:
            if error.code == "slow_down":
                pause_s += _SLOWER_S
            elif error.code != "authorization_pending" and not error.is_temporary:
                raise
    raise OAuthError("Nobody signed in in time.")


@dataclass(frozen=True)
class AuthorizationRequest:
    """An authorization request that was begun."""

    url: str
    state: str
    verifier: str
    redirect_uri: str


def authorization_request(provider: Provider, redirect_uri: str) -> AuthorizationRequest:
    """Begin an authorization request (RFC 6749, 4.1, with PKCE, RFC 7636)."""
    state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": provider.scope,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    } | ({"audience": provider.audience} if provider.audience else {})
    endpoint = provider.endpoint("authorization")
    return AuthorizationRequest(
        f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", state, verifier, redirect_uri
    )


def exchange_code(provider: Provider, request: AuthorizationRequest, query: Mapping[str, str]) -> Flow[dict[str, Any]]:
    """Exchange the authorization code in the redirect's ``query`` for tokens.

    Raises:
        OAuthError: the provider refused, or this is not the answer to our request.
    """
    if not secrets.compare_digest(query.get("state", "").encode(), request.state.encode()):
        raise OAuthError("What came back is not the answer to this sign-in: begin again.")
    issuer = query.get("iss")
    if issuer is not None and issuer != provider.metadata.get("issuer"):
        raise OAuthError("What came back is from another provider: begin again.")
    if "code" not in query:
        raise OAuthError(f"The provider refuses: {query.get('error_description') or query.get('error', 'no code')}.")
    return (
        yield from _token(
            provider,
            grant_type="authorization_code",
            code=query["code"],
            redirect_uri=request.redirect_uri,
            code_verifier=request.verifier,
        )
    )


def renewal_fields(provider: Provider, grant: str) -> dict[str, Any]:
    """Return what must be stored with the tokens, to renew them."""
    entry = {
        "kind": "oauth",
        "grant": grant,
        "issuer": provider.metadata.get("issuer"),
        "token_endpoint": provider.endpoint("token"),
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "scope": provider.scope,
        "audience": provider.audience,
    }
    return {name: value for name, value in entry.items() if value}


def renew_tokens(entry: Mapping[str, Any]) -> Flow[dict[str, Any] | None]:
    """Renew stored tokens; None when that needs a user.

    Raises:
        OAuthError: the provider refuses.
    """
    metadata = {"token_endpoint": entry.get("token_endpoint")}
    provider = Provider(
        metadata,
        str(entry.get("client_id")),
        entry.get("client_secret"),
        str(entry.get("scope", "")),
        entry.get("audience"),
    )
    if entry.get("grant") == "client_credentials":
        return (yield from client_credentials(provider))
    if not entry.get("refresh_token"):
        return None
    return (yield from _token(provider, grant_type="refresh_token", refresh_token=str(entry["refresh_token"])))
