"""Authentication: ``principal()`` returns the user, ``require(role)`` checks a role, ``audit.record`` logs it.

``init_app`` adds this to an application: sessions, the sign-in and ``/conf`` routes, and the limit on changes. It needs
Redis only for requests with a session.
"""

from __future__ import annotations

from api.auth import audit
from api.auth.access import principal, require, require_role_for_changes, require_signed_in
from api.auth.principals import Principal
from api.auth.settings import AuthSettings
from api.auth.setup import check_callback_path, init_app

__all__ = [
    "AuthSettings",
    "Principal",
    "audit",
    "check_callback_path",
    "init_app",
    "principal",
    "require",
    "require_role_for_changes",
    "require_signed_in",
]
