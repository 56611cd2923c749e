"""Finding out who asks, once for each request, and refusing those who may not."""

from __future__ import annotations

from typing import Any, NoReturn

from flask import g, request
from werkzeug.datastructures import Authorization

from api.auth import audit
from api.auth.basic import BasicUser
from api.auth.forwarding import PEER
from api.auth.principals import EVERY_ROLE, Principal
from api.auth.provider_http import ProviderUnavailable
from api.auth.request_origin import is_cross_site, is_loopback
from api.auth.services import auth_services
from api.auth.sessions import Session, SessionStoreUnavailable
from api.auth.tokens import InvalidToken
from api.http.methods import SAFE_METHODS
from api.http.problems import Problem
from worker.catalog.operations import Role
from worker.config.networks import network_of
from worker.store.sign_in_attempts import WINDOW_S, Counts

_REALM = 'realm="storage-api"'


def principal() -> Principal:
    """Return who asks.

    Raises:
        Problem: 401 for a token or password that is no good (also where none was needed: the client is mistaken
            about who it is), 403 for a page of another site that changes something in a user's name, 503 when nobody
            can tell.
    """
    if "principal" not in g:
        g.principal = _find()
    found = g.principal
    assert isinstance(found, Principal)  # noqa: S101 - put there above
    return found


def require(role: Role, *, operation: str = "", target: str = "") -> Principal:
    """Return who asks, if they have ``role``; the decision goes to the audit log.

    Args:
        role: the role that is needed.
        operation: what is asked for, for the audit log.
        target: what it is asked for, for the audit log (default: the request's path).

    Raises:
        Problem: 401 when anonymous, 403 ``missing-role`` otherwise, and as ``principal``.
    """
    _note(role=role.value, operation=operation, target=target or request.path)
    found = principal()
    _note(who=found.name, auth_method=found.method)
    if role not in found.roles:
        _refuse_role(role, found)
    _note(allowed=True)
    return found


def require_signed_in() -> Principal:
    """Return who asks, if we know who that is.

    Raises:
        Problem: 401 when anonymous, and as ``principal``.
    """
    found = principal()
    _note(who=found.name, auth_method=found.method, role="(signed in)", allowed=found.signed_in)
    if not found.signed_in:
        require_authentication("Sign in at /login, or send a bearer token.")
    return found


def require_role_for_changes() -> None:
    """Refuse who has no role for any change.

    Raises:
        Problem: 401 when anonymous, 403 ``missing-role`` otherwise.
    """
    found = require_signed_in()
    if not found.roles - {Role.USER}:
        _refuse_role(Role.ADMIN, found)


def _refuse_role(role: Role, found: Principal) -> NoReturn:
    if not found.signed_in:
        require_authentication(f"This needs the role {role}: sign in at /login, or send a bearer token.")
    existing = (
        "" if auth_services().roles.exists(role) else " This service has no group for that role, so nobody has it."
    )
    refuse("missing-role", f"This needs the role {role}, which you do not have.{existing}", extra={"role": role.value})


def refuse(
    code: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    extra: dict[str, str] | None = None,
    limit: str = "",
) -> NoReturn:
    """Refuse the request, and say so in the audit log; ``limit``: the setting whose limit was reached.

    Raises:
        Problem: always.
    """
    audit.decide(allowed=False, reason=code, detail=detail)
    raise Problem(code, detail, headers=headers, extra=extra, limit=limit)


def require_authentication(detail: str, *, error: str = "", ask_for_password: bool = False) -> NoReturn:
    """Refuse with 401 and the ways to sign in.

    Raises:
        Problem: always.
    """
    challenge = f'Bearer {_REALM}, error="{error}"' if error else f"Bearer {_REALM}"
    # A challenge for Basic makes browsers open a window of their own over the documentation page: only scripts get it.
    if auth_services().basic and (ask_for_password or "Sec-Fetch-Mode" not in request.headers):
        challenge += f', Basic {_REALM}, charset="UTF-8"'
    refuse("unauthenticated", detail, headers={"WWW-Authenticate": challenge})


def reject_without_store() -> NoReturn:
    """Refuse because Redis, which knows the sessions, is away.

    Raises:
        Problem: always.
    """
    refuse("queue-unavailable", "Sessions cannot be looked up now: Redis is away.", headers={"Retry-After": "2"})


def reject_without_provider() -> NoReturn:
    """Refuse because the sign-in provider is away.

    Raises:
        Problem: always.
    """
    detail = "The sign-in provider cannot be reached now, so your identity cannot be checked. Try again."
    refuse("sign-in-unavailable", detail, headers={"Retry-After": "5"})


def _note(**decision: object) -> None:
    audit.decide(**decision)


def prefer_sessions() -> None:
    """Find out who asks by the session first, for the request at hand.

    For clients that send an Authorization header of no meaning beside their session: it counts only without one, and
    where it is no good, its sender is nobody.
    """
    g.prefers_sessions = True


def _find() -> Principal:
    if g.get("prefers_sessions"):
        found = _by_session_or_header()
    else:
        found = _by_header(request.authorization) if "Authorization" in request.headers else _by_cookie()
    if found.method in ("session", "basic") and request.method not in SAFE_METHODS and is_cross_site(request):
        _note(who=found.name, auth_method=found.method)
        refuse("cross-site-request", "A page of another site sent this in your name: it is refused.")
    return found


def _by_session_or_header() -> Principal:
    found = _by_cookie()
    if found.signed_in or "Authorization" not in request.headers:
        return found
    try:
        return _by_header(request.authorization)
    except Problem as refused:
        if refused.code != "unauthenticated":
            raise
        return found


def _by_header(sent: Authorization | None) -> Principal:
    here = auth_services()
    if sent and sent.type == "bearer" and sent.token is not None:
        return _by_token(sent.token)
    if sent and sent.type == "basic" and here.basic:
        return _by_password(sent, here.basic)
    require_authentication("The Authorization header is of a kind that this service does not take.")


def _by_password(sent: Authorization, basic: BasicUser) -> Principal:
    _note(auth_method="basic")
    user, network = sent.username or "", network_of(request.remote_addr)
    counts = basic.attempts.counts(user, network)
    limit = basic.attempts.limit_reached(counts, user, network)
    if limit:
        _refuse_attempt(user, limit)
    if not basic.is_it(user, sent.password):
        basic.attempts.record_failure(user, network)
        _note(who=user)
        require_authentication("The user name or the password is wrong.")
    basic.attempts.record_success(user, network, counts)
    _remember_attempts(basic, user, network, counts)
    return Principal(basic.name, auth_services().roles.of_basic(), "basic", _basic_id(basic.name))


def _refuse_attempt(user: str, limit: str) -> NoReturn:
    hint = {}
    if "X-Forwarded-For" in request.headers and request.environ.get(PEER) == request.remote_addr:
        hint = {"hint": "a proxy that SAPI_TRUSTED_NETWORKS does not name: all behind it count as one"}
    _note(who=user, **hint)
    refuse(
        "rate-limited",
        "Too many wrong passwords came for this user or from your network. Try again in a minute.",
        headers={"Retry-After": str(WINDOW_S)},
        limit=limit,
    )


def _remember_attempts(basic: BasicUser, user: str, network: str, counts: Counts | None) -> None:
    """Note on which counts of Redis this sign-in depends, for those who repeat the answer."""
    if counts is not None:
        g.attempts = (("MGET", *basic.attempts.keys_of(user, network)[:2]), list(counts[:2]))


def sign_in_dependency() -> tuple[tuple[str, ...], Any] | None:
    """The command for Redis on which the sign-in of this request depends, with its reply; None when it has none.

    A session is there for as long as its key; a password is looked at only while few wrong ones were sent.
    """
    who = principal()
    if who.method == "session":
        session_key = auth_services().sessions.current_key()
        return (("EXISTS", session_key), 1) if session_key else None
    found: tuple[tuple[str, ...], Any] | None = g.get("attempts")
    return found if who.method == "basic" else None


def _by_token(token: str) -> Principal:
    here = auth_services()
    _note(auth_method="bearer")
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
        kept = here.sessions.current()
        if kept is not None and here.session_check is not None and not (kept.debug or kept.basic):
            kept = here.session_check.with_recent_groups(kept)
    except SessionStoreUnavailable:
        reject_without_store()
    return (_of_session(kept) if kept else None) or Principal(roles=here.roles.anonymous_roles())


def _of_session(kept: Session) -> Principal | None:
    """Return the principal of a session under the present configuration, which may have changed since it began."""
    here = auth_services()
    if kept.debug:
        local = here.settings.debug and is_loopback(request, proxies=here.settings.proxy_networks)
        return Principal(kept.identity.name, EVERY_ROLE, "session", "debug") if local else None
    if kept.basic:
        is_still = here.basic is not None and here.basic.name == kept.identity.name
        name = kept.identity.name
        return Principal(name, here.roles.of_basic(), "session", _basic_id(name)) if is_still else None
    return Principal(kept.identity.name, here.roles.of_identity(kept.identity), "session", kept.identity.id)


def _basic_id(name: str) -> str:
    return f"basic {name}"
