"""Refuses requests: the problem for the client, with the ways to sign in where that helps, and the audit entry."""

from __future__ import annotations

from typing import NoReturn

from flask import request

from api.auth import audit
from api.auth.services import auth_services
from api.auth.sessions import SessionStoreUnavailable
from api.http.problems import Problem
from worker.store.client import explain

#: The parameter of all challenges (RFC 9110, 11.5).
REALM = 'realm="storage-api"'


def refuse(
    code: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    extra: dict[str, str] | None = None,
    limit: str = "",
    retryable: bool | None = None,
) -> NoReturn:
    """Refuse the request, and write that to the audit log; ``limit``: the setting whose limit was reached.

    ``retryable``: may it be accepted when it is sent again (default: as for all problems with this code)?

    Raises:
        Problem: always.
    """
    audit.decide(allowed=False, reason=code, detail=detail)
    raise Problem(code, detail, headers=headers, extra=extra, limit=limit, retryable=retryable)


def require_authentication(detail: str, *, error: str = "", ask_for_password: bool = False) -> NoReturn:
    """Refuse with 401 and the ways to sign in.

    Raises:
        Problem: always.
    """
    challenge = f'Bearer {REALM}, error="{error}"' if error else f"Bearer {REALM}"
    # A Basic challenge makes browsers show a password dialog over the documentation page: only scripts get it.
    if auth_services().basic and (ask_for_password or "Sec-Fetch-Mode" not in request.headers):
        challenge += f', Basic {REALM}, charset="UTF-8"'
    refuse("unauthenticated", detail, headers={"WWW-Authenticate": challenge})


def reject_without_store(unavailable: SessionStoreUnavailable) -> NoReturn:
    """Refuse because Redis, which holds the sessions, is unavailable, and say what it said.

    Raises:
        Problem: always.
    """
    detail = f"Sessions cannot be looked up or changed now. Redis: {explain(unavailable.__cause__ or unavailable)}."
    refuse("queue-unavailable", detail, headers={"Retry-After": "2"})


def reject_without_provider() -> NoReturn:
    """Refuse because the sign-in provider is unavailable.

    Raises:
        Problem: always.
    """
    detail = "The sign-in provider cannot be reached now, so your identity cannot be checked. Try again."
    refuse("sign-in-unavailable", detail, headers={"Retry-After": "5"})
