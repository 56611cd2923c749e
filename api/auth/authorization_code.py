"""OAuth2's authorization code flow with the sign-in provider, with a state for one use, a nonce, and PKCE."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from typing import Any, NoReturn

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import FlaskIntegration, FlaskOAuth2App, OAuthError
from flask import request, session
from werkzeug.wrappers import Response

from api.auth.principals import Identity
from api.auth.provider import IdentityProvider
from api.auth.provider_http import ProviderRefused, ProviderUnavailable
from api.auth.refusals import refuse, reject_without_provider, reject_without_store
from api.auth.session_check import tokens_to_keep
from api.auth.sessions import SIGN_IN_LIMIT_S, Sessions, SessionStoreUnavailable
from api.auth.token_claims import identity_in
from api.auth.tokens import InvalidToken
from worker.config.role_groups import groups_in

logger = logging.getLogger(__name__)

_NAME = "provider"
_STATE = f"_state_{_NAME}_"
#: How many sign-ins one browser may have in progress, and how many characters in JSON they may have together: browsers
#: drop cookies of more than 4,096 bytes.
_MOST_STATES, _LONGEST_STATES = 3, 2_700
#: How many characters in JSON the path may have to which a sign-in leads; a longer one is forgotten.
_LONGEST_TARGET = 2_000
_START_AGAIN = "Start again at /login."
#: Error codes of the provider that are not caused by the user.
_OUR_FAULT = ("invalid_client", "unauthorized_client", "server_error", "temporarily_unavailable")

# On level DEBUG, Authlib writes code verifiers into the log.
logging.getLogger("authlib").setLevel(logging.INFO)


class SignInClient(FlaskOAuth2App):
    """Authlib's client, which gets the provider's metadata and keys from our own provider object, with time limits."""

    def __init__(self, provider: IdentityProvider) -> None:
        settings = provider.settings
        framework = FlaskIntegration(_NAME)
        framework.expires_in = SIGN_IN_LIMIT_S
        super().__init__(
            framework,
            _NAME,
            client_id=settings.oauth_client_id,
            client_kwargs={
                "code_challenge_method": "S256",
                "scope": settings.scope,
            },
        )
        self._provider = provider

    def load_server_metadata(self) -> dict[str, Any]:
        self.authorize_url = self._provider.authorize_url()
        return {}

    def fetch_access_token(self, redirect_uri: str | None = None, **answer: Any) -> dict[str, Any]:
        """Return the tokens for the code of the provider's ``answer``.

        Raises:
            OAuthError: the provider refuses.
            ProviderUnavailable: it does not answer.
        """
        try:
            return self._provider.exchange(
                answer["code"], redirect_uri=redirect_uri or "", verifier=answer["code_verifier"]
            )
        except ProviderRefused as refused:
            raise OAuthError(error=str(refused.error)) from None

    def parse_id_token(self, token: dict[str, Any], nonce: str, **_: Any) -> dict[str, Any]:
        """Return the claims of the ID token, verified like all other tokens."""
        verifier, client_id = self._provider.verifier, self._provider.settings.oauth_client_id
        claims = verifier.claims(str(token.get("id_token")), audience=client_id)
        if not secrets.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()):
            raise InvalidToken("it belongs to another sign-in")
        if claims.get("azp", client_id) != client_id:
            raise InvalidToken("it was issued to another client")
        return claims


def authorization_redirect(provider: IdentityProvider, target: str) -> Response:
    """Redirect the browser to the provider, and remember the page that it requested.

    Raises:
        Problem: the provider is unavailable.
    """
    redirect_uri = request.root_url.rstrip("/") + provider.settings.oauth_callback_url_relative
    try:
        client = SignInClient(provider)
        leaving = client.create_authorization_url(redirect_uri)
    except ProviderUnavailable as exc:
        _log_trouble(exc)
        reject_without_provider()
    target = target if len(json.dumps(target)) <= _LONGEST_TARGET else "/"
    client.save_authorize_data(redirect_uri=redirect_uri, next=target, **leaving)
    _forget_old_states()
    return Response(status=302, headers={"Location": leaving["url"]})


def handle_callback(provider: IdentityProvider, sessions: Sessions) -> tuple[Identity, dict[str, Any], str]:
    """Return the identity of the user, the tokens for later requests to the provider, and the path to redirect to.

    Raises:
        Problem: this browser did not begin this sign-in, or the provider is unavailable.
    """
    state = request.args.get("state", "")
    begun = session.get(_STATE + state)
    if not isinstance(begun, dict) or time.time() > begun["exp"]:
        _refuse_return("This sign-in was not begun in this browser, or too long ago.")
    _check_first_use(sessions, state)
    identity, tokens = _exchange(provider)
    return identity, tokens, str(begun["data"]["next"])


def _exchange(provider: IdentityProvider) -> tuple[Identity, dict[str, Any]]:
    """Exchange the code for an identity, and the tokens for later requests to the provider."""
    try:
        sender = request.args.get("iss")
        if sender is not None and provider.issuer() not in ("", sender):
            _refuse_return("The answer comes from another provider.")
        if "error" not in request.args and not request.args.get("code"):
            _refuse_return("The provider sent no code.")
        answer = SignInClient(provider).authorize_access_token()
        return _identity(provider, answer), tokens_to_keep(answer)
    except InvalidToken as exc:
        _refuse_return(f"The provider's ID token is no good: {exc}.")
    except AuthlibBaseError as exc:
        _refuse_error(exc)
    except (ProviderUnavailable, ValueError) as exc:
        _refuse_without_provider(exc)


def _identity(provider: IdentityProvider, token: dict[str, Any]) -> Identity:
    access_token = token.get("access_token")
    if not isinstance(access_token, str) or not access_token:
        raise ProviderUnavailable("the token endpoint sent no access token")
    claims = dict(token.get("userinfo") or {})
    settings = provider.settings
    if "openid" in settings.scope.split() and not claims:
        raise InvalidToken("there is none")
    if not settings.asks_groups_url and groups_in(claims, settings.oauth_groups_claim) is None:
        claims = _with_userinfo(claims, provider.userinfo(access_token))
    groups = provider.groups(claims, access_token)
    identity = identity_in(claims, name_claim=settings.oauth_name_claim, groups=groups, issuer=provider.issuer())
    # A provider of plain OAuth2 may send no user name. Users without one must not share an owner of jobs.
    return identity if identity.name else Identity(f"unnamed-{secrets.token_hex(6)}", "", identity.groups)


def _with_userinfo(claims: dict[str, Any], userinfo: dict[str, Any]) -> dict[str, Any]:
    """Merge ID token and user info; the latter counts only when it has the same subject."""
    if claims and userinfo.get("sub") != claims.get("sub"):
        return claims
    return userinfo | claims


def _check_first_use(sessions: Sessions, state: str) -> None:
    try:
        first = sessions.use_once(f"state:{state}")
    except SessionStoreUnavailable as unavailable:
        reject_without_store(unavailable)
    if not first:
        _refuse_return("This sign-in has ended already.")


def _forget_old_states() -> None:
    """Forget the oldest sign-ins that were begun, until the others fit into a cookie."""
    states = sorted((name for name in session if name.startswith(_STATE)), key=lambda name: session[name]["exp"])
    while len(states) > _MOST_STATES or sum(len(json.dumps(session[name])) for name in states) > _LONGEST_STATES:
        session.pop(states.pop(0))


def _refuse_error(error: AuthlibBaseError) -> NoReturn:
    code = re.sub(r"[^a-z_]", "", str(error.error or "unknown"))[:40]
    if code in _OUR_FAULT:
        _refuse_without_provider(error)
    if code == "access_denied":
        refuse("unauthenticated", "The provider did not let you in.", headers={"WWW-Authenticate": "Bearer"})
    _refuse_return(f"The provider refused ({code}).")


def _refuse_return(reason: str) -> NoReturn:
    refuse("invalid-request", f"{reason} {_START_AGAIN}")


def _refuse_without_provider(error: Exception) -> NoReturn:
    """Refuse an answer of the provider, which cannot be sent again: its state works once."""
    _log_trouble(error)
    detail = f"The sign-in provider cannot be reached now, so your identity cannot be checked. {_START_AGAIN}"
    refuse("sign-in-unavailable", detail, retryable=False)


def _log_trouble(error: Exception) -> None:
    logger.warning("sign-in provider: %s: %s", type(error).__name__, str(error)[:200])
