"""Access below /v3: roles as in /v4, and the predecessor's 403 for all who lack one, also anonymous clients."""

from __future__ import annotations

from api import auth
from api.http.problems import Problem
from worker.catalog.operations import Role


def require(role: Role, operation_id: str) -> None:
    """Refuse users without the role; the decision is written to the audit log.

    Raises:
        Problem: `missing-role`, and as ``auth.principal``.
    """
    try:
        auth.require(role, operation=operation_id)
    except Problem as refused:
        if refused.code not in ("unauthenticated", "missing-role"):
            raise
        detail = f"The current user is not in role {role}_ROLE"
        raise Problem("missing-role", detail) from None
