"""Converts the claims of various providers to an ``Identity``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.auth.principals import Identity
from worker.config.user_names import CLIENTS, name_in, user_name_in


def subject_in(answer: Mapping[str, Any], name_claim: str) -> str:
    """Return the id of an account: `sub`, or the client of a token that names no user. Empty when there is neither.

    Users whose tokens have no `sub` share the client that these were issued to, which is the id of none of them.
    """
    stated = answer.get("sub")
    if isinstance(stated, str):
        return stated
    if user_name_in(answer, name_claim):
        return ""
    return next((answer[key] for key in CLIENTS if isinstance(answer.get(key), str)), "")


def identity_in(answer: Mapping[str, Any], *, name_claim: str, groups: tuple[str, ...], issuer: str = "") -> Identity:
    """Return the identity in the claims ``answer``; ``issuer``: used where the claims have none.

    Who has an account id with unprintable characters is nobody: it might not be possible to encode it.
    """
    subject = subject_in(answer, name_claim)
    name, stated = name_in(answer, name_claim), answer.get("iss")
    if not subject.isprintable():
        name = subject = ""
    return Identity(name, subject, groups, stated if isinstance(stated, str) else issuer)
