"""Authenticates each request once, and refuses those without the necessary role."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from flask import g, request
from werkzeug.datastructures import Authorization

from api.auth import audit
from api.auth.basic import BasicUser
from api.auth.forwarding import PEER
from api.auth.principals import EVERY_ROLE, Principal
from api.auth.provider_http import ProviderUnavailable
from api.auth.refusals import REALM, refuse, reject_without_provider, reject_without_store, require_authentication
from api.auth.request_origin import is_cross_site, is_loopback
from api.auth.services import auth_services
from api.auth.sessions import Session, SessionStoreUnavailable
from api.auth.tokens import InvalidToken
from api.http.methods import SAFE_METHODS
from api.http.problems import Problem
from worker.catalog.operations import Role
from worker.config.networks import network_of
from worker.store.sign_in_attempts import WINDOW_S, Counts


def principal() -> Principal:
    """Return the user of the current request.

    Raises:
        Problem: 401 for an invalid token or password (also where none was needed: the client is mistaken
            about its identity), 403 for a change sent by a page of another site in a user's name, 503 when Redis or the
            provider is unavailable.
    """
    if "sign_in_refusal" in g:
        raise g.sign_in_refusal
    if "principal" not in g:
        try:
            g.principal = _find()
        except Problem as refusal:
            # Pages ask again who it is, to show the refusal: a wrong password counts once all the same.
            g.sign_in_refusal = refusal
            raise
    user = g.principal
    assert isinstance(user, Principal)  # noqa: S101 - put there above
    return user


def require(role: Role, *, operation: str = "", target: str = "") -> Principal:
    """Return the user if they have ``role``; the decision is written to the audit log.

    Args:
        role: the role that is needed.
        operation: the operation, for the audit log.
        target: the object of the operation, for the audit log (default: the request's path).

    Raises:
        Problem: 401 when anonymous, 403 ``missing-role`` otherwise, and as ``principal``.
    """
    audit.decide(role=role.value, operation=operation, target=target or request.path)
    user = principal()
    audit.decide(who=user.name, auth_method=user.method)
    if role not in user.roles:
        _refuse_role(role, user)
    audit.decide(allowed=True)
    return user


def require_signed_in() -> Principal:
    """Return the user if they are signed in.

    Raises:
        Problem: 401 when anonymous, and as ``principal``.
    """
    user = principal()
    audit.decide(who=user.name, auth_method=user.method, role="(signed in)", allowed=user.signed_in)
    if not user.signed_in:
        require_authentication("Sign in at /login, or send a bearer token.")
    return user


def require_role_for_changes() -> None:
    """Refuse users without a role for any change.

    Raises:
        Problem: 401 when anonymous, 403 ``missing-role`` otherwise.
    """
    user = require_signed_in()
    if not user.roles - {Role.USER}:
        _refuse_role(Role.ADMIN, user)


def _refuse_role(role: Role, user: Principal) -> NoReturn:
    if not user.signed_in:
        require_authentication(f"This needs the role {role}: sign in at /login, or send a bearer token.")
    existing = (
        "" if auth_services().roles.exists(role) else " This service has no group for that role, so nobody has it."
    )
    # RFC 6750, section 3: also a token that is good, but not for this.
    challenge = {"WWW-Authenticate": f'Bearer {REALM}, error="insufficient_scope"'} if user.method == "bearer" else {}
    detail = f"This needs the role {role}, which you do not have.{existing}"
    refuse("missing-role", detail, headers=challenge, extra={"role": role.value})


def prefer_sessions() -> None:
    """Authenticate the current request by the session first.

    For clients that send a meaningless Authorization header beside their session: it counts only without a session, and
    if it is invalid, the client is anonymous.
    """
    g.prefers_sessions = True


def _find() -> Principal:
    if g.get("prefers_sessions"):
        user = _by_session_or_header()
    else:
        user = _by_header(request.authorization) if "Authorization" in request.headers else _by_cookie()
    if user.method in ("session", "basic") and request.method not in SAFE_METHODS and is_cross_site(request):
        audit.decide(who=user.name, auth_method=user.method)
        refuse("cross-site-request", "A page of another site sent this in your name: it is refused.")
    return user


def _by_session_or_header() -> Principal:
    user = _by_cookie()
    if user.signed_in or "Authorization" not in request.headers:
        return user
    try:
        return _by_header(request.authorization)
    except Problem as refused:
        if refused.code != "unauthenticated":
            raise
        return user


def _by_header(sent: Authorization | None) -> Principal:
    here = auth_services()
    if sent and sent.type == "bearer" and sent.token is not None:
        return _by_token(sent.token)
    if not (sent and sent.type == "basic" and here.basic):
        require_authentication("The Authorization header is of a kind that this service does not take.")
    return _by_password(sent, here.basic)


def _by_password(sent: Authorization, basic: BasicUser) -> Principal:
    audit.decide(auth_method="basic")
    user, network, password = sent.username or "", network_of(request.remote_addr), sent.password or ""
    counts = basic.recent.counts(user, network, password) or _check_password(basic, user, network, password)
    _remember_attempts(basic, user, network, counts)
    return Principal(basic.name, auth_services().roles.of_basic(), "basic", _basic_id(basic.name))


def _check_password(basic: BasicUser, user: str, network: str, password: str) -> Counts | None:
    """Check a password, unless too many wrong ones were sent; return the counters of these in Redis."""
    counts = basic.attempts.counts(user, network)
    limit = basic.attempts.limit_reached(counts, user, network)
    if limit:
        basic.recent.clear()
        _refuse_attempt(user, limit)
    if not basic.matches(user, password):
        basic.recent.clear()
        basic.attempts.record_failure(user, network)
        audit.decide(who=user)
        require_authentication("The user name or the password is wrong.")
    basic.attempts.record_success(user, network, counts)
    if counts is not None:
        basic.recent.add(user, network, password, counts)
    return counts


def _refuse_attempt(user: str, limit: str) -> NoReturn:
    hint = {}
    if "X-Forwarded-For" in request.headers and request.environ.get(PEER) == request.remote_addr:
        hint = {"hint": "a proxy that SAPI_TRUSTED_NETWORKS does not name: all behind it count as one"}
    audit.decide(who=user, **hint)
    refuse(
        "rate-limited",
        "Too many wrong passwords came for this user or from your network. Try again in a minute.",
        headers={"Retry-After": str(WINDOW_S)},
        limit=limit,
    )


def _remember_attempts(basic: BasicUser, user: str, network: str, counts: Counts | None) -> None:
    """Store the counters in Redis on which this sign-in depends, for the response cache."""
    if counts is not None:
        g.attempts = (("MGET", *basic.attempts.keys_of(user, network)[:2]), list(counts[:2]))


def sign_in_dependency() -> tuple[tuple[str, ...], Any] | None:
    """Return the Redis command on which the sign-in of this request depends, with its reply; None if there is none.

    A session exists as long as its key; a password is checked only while few wrong ones were sent.
    """
    who = principal()
    if who.method == "session":
        session_key = auth_services().sessions.current_key()
        return (("EXISTS", session_key), 1) if session_key else None
    attempts: tuple[tuple[str, ...], Any] | None = g.get("attempts")
    return attempts


def sign_in_valid_s() -> float:
    """Return for how long the sign-in of this request holds while its Redis command has the same reply (seconds).

    Only the application extends a session, and renews the roles of its user, which may have some age already.
    """
    if principal().method != "session":
        return math.inf
    here = auth_services()
    groups_valid_s: float = g.get("groups_valid_s", here.settings.roles_max_age)
    return min(here.sessions.touch_every_s, groups_valid_s)


def _by_token(token: str) -> Principal:
    here = auth_services()
    audit.decide(auth_method="bearer")
    if here.bearer is None:
        require_authentication(
            "This service takes no bearer tokens: it has no provider to check them with.", error="invalid_token"
        )
    try:
        identity = here.bearer.identity(token)
    except InvalidToken as exc:
        require_authentication(f"The bearer token is no good: {exc}.", error="invalid_token")
    except ProviderUnavailable:
        reject_without_provider()
    return Principal(identity.name, here.roles.of_identity(identity), "bearer", identity.id)


def _by_cookie() -> Principal:
    here = auth_services()
    try:
        session = here.sessions.current()
        if session is not None and here.session_check is not None and not (session.debug or session.basic):
            session = here.session_check.with_recent_groups(session)
            g.groups_valid_s = here.session_check.valid_s(session) if session else 0.0
    except SessionStoreUnavailable as unavailable:
        reject_without_store(unavailable)
    return (_of_session(session) if session else None) or Principal(roles=here.roles.anonymous_roles())


def _of_session(session: Session) -> Principal | None:
    """Return the principal of a session under the current configuration, which may have changed since it began."""
    here = auth_services()
    if session.debug:
        local = here.settings.debug and is_loopback(request, proxies=here.settings.proxy_networks)
        return Principal(session.identity.name, EVERY_ROLE, "session", "debug") if local else None
    if session.basic:
        is_still = here.basic is not None and here.basic.name == session.identity.name
        name = session.identity.name
        return Principal(name, here.roles.of_basic(), "session", _basic_id(name)) if is_still else None
    return Principal(session.identity.name, here.roles.of_identity(session.identity), "session", session.identity.id)


def _basic_id(name: str) -> str:
    return f"basic {name}"
