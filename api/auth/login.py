"""``/login``, ``/logout`` and ``/login_basic``: how a browser's session begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from flask import redirect, request
from flask_smorest import Blueprint
from werkzeug.wrappers import Response

from api.auth import audit
from api.auth.access import principal
from api.auth.authorization_code import authorization_redirect, handle_callback
from api.auth.openapi import NEXT, THERE, problems
from api.auth.principals import Identity
from api.auth.refusals import refuse, reject_without_store, require_authentication
from api.auth.request_origin import is_cross_site, is_loopback, local_path
from api.auth.services import AuthServices, auth_services
from api.auth.sessions import Session, SessionStoreUnavailable
from api.http.arguments_parser import check_unrepeated, reject_query_parameters
from api.http.problems import Problem

_TAKEN = ("next",)
_EVENTS = {"/logout": "sign-out"}
#: The user of sign-ins in debug mode.
DEVELOPER = "developer"

View = Callable[[], Response]


def login_blueprint(*, has_basic: bool, callback_path: str) -> Blueprint:
    """Return the blueprint with the routes for signing in and out."""
    blueprint = Blueprint("signing-in", __name__, description="Signing in and out, in a browser")
    _add(blueprint, "/login", "sign_in", login, 403, 422, 503)
    _add(blueprint, callback_path, "finish_sign_in", oauth_callback, 400, 403, 503)
    _add(blueprint, "/logout", "sign_out", logout, 403, 422, 503)
    _add(blueprint, "/logout", "sign_out_by_post", logout, 403, 422, 503, method="POST")
    if has_basic:
        _add(blueprint, "/login_basic", "sign_in_with_password", login_basic, 401, 422, 429, 503)
        by_post = (401, 403, 422, 429, 503)
        _add(blueprint, "/login_basic", "sign_in_with_password_by_post", login_basic, *by_post, method="POST")
    return blueprint


def _add(blueprint: Blueprint, path: str, name: str, view: View, *refusals: int, method: str = "GET") -> None:
    """Add and document the route of ``view``; each method has an operation id of its own."""

    def answer() -> Response:
        audit.concerns(_EVENTS.get(path, "sign-in"))
        if view is not oauth_callback:
            check_unrepeated()
            reject_query_parameters(*_TAKEN)
        response = view()
        response.headers["Cache-Control"] = "no-store"
        return response

    answer.__name__, answer.__doc__ = name, view.__doc__
    security: list[dict[str, list[str]]] = [{"basic": []}] if view is login_basic else []
    responses: dict[str, Any] = {"302": THERE} | problems(*refusals)
    parameters = [] if view is oauth_callback else [NEXT]
    document = blueprint.doc(operationId=name, parameters=parameters, security=security, responses=responses)
    blueprint.route(path, methods=[method])(document(answer))


def login() -> Response:
    """Sign in.

    Leads to the provider and back. In debug mode, clients on the same machine get every role at once.
    """
    here = auth_services()
    target = local_path(request.args.get("next"))
    if here.settings.debug and is_loopback(request, proxies=here.settings.proxy_networks):
        return enter(Session(Identity(DEVELOPER), debug=True), target)
    if here.provider is None:
        _refuse_unconfigured(here)
    return authorization_redirect(here.provider, target)


def oauth_callback() -> Response:
    """Finish signing in.

    The provider sends browsers here with a code.
    """
    here = auth_services()
    if here.provider is None:
        _refuse_unconfigured(here)
    identity, tokens, target = handle_callback(here.provider, here.sessions)
    return enter(Session(identity), target, tokens)


def login_basic() -> Response:
    """Sign in with user name and password.

    Takes HTTP Basic, and begins a session.
    """
    if not request.authorization or request.authorization.type != "basic":
        require_authentication("Send your user name and password by HTTP Basic.", ask_for_password=True)
    return enter(Session(Identity(principal().name), basic=True), local_path(request.args.get("next")))


def logout() -> Response:
    """Sign out.

    Ends the session everywhere: a copy of its cookie is worth nothing afterwards.
    """
    # Also by GET: a link or redirect on another site's page must not sign users out.
    if is_cross_site(request):
        refuse("cross-site-request", "A page of another site sent this in your name: it is refused.")
    sessions = auth_services().sessions
    try:
        session = sessions.current()
        sessions.end()
    except SessionStoreUnavailable as unavailable:
        reject_without_store(unavailable)
    if session:
        audit.decide(who=session.identity.name, auth_method="session", allowed=True)
    response = redirect(local_path(request.args.get("next")))
    # Pages of the signed-in user are deleted from the browser's caches, too.
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


def enter(session: Session, target: str, tokens: Mapping[str, Any] | None = None) -> Response:
    """Begin a session, and redirect to ``target``; ``tokens``: for later requests to the provider."""
    try:
        auth_services().sessions.begin(session, tokens)
    except SessionStoreUnavailable as unavailable:
        reject_without_store(unavailable)
    audit.decide(who=session.identity.name, auth_method="session", allowed=True)
    return redirect(target)


def _refuse_unconfigured(here: AuthServices) -> NoReturn:
    if here.settings.debug:
        status, detail = (
            403,
            "In debug mode, /login is for clients on the same machine, by a name like localhost and without a proxy.",
        )
    else:
        status, detail = 503, "No sign-in provider is configured: set SAPI_OAUTH_CLIENT_ID and SAPI_OAUTH_SECRET_KEY."
    audit.decide(allowed=False, reason="sign-in-unavailable", detail=detail)
    raise Problem("sign-in-unavailable", detail, status=status, retryable=False)
