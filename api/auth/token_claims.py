"""Converts the claims of various providers to an ``Identity``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.auth.principals import Identity

#: Claims in which providers send the user's name, besides the configured one.
_OTHER_NAMES = ("username", "upn", "cern_upn")
_ACCOUNT_NAMES = ("sub", "client_id", "azp", "cid")


def name_in(answer: Mapping[str, Any], claim: str) -> str:
    """Return the user's name, or the client id of a machine account. Empty when there is neither.

    Names with unprintable characters are ignored: they could be mistaken for other names, or break lines.
    """
    for key in (claim, *_OTHER_NAMES, *_ACCOUNT_NAMES):
        value = answer.get(key)
        if isinstance(value, str) and value.strip() and value.strip().isprintable():
            return value.strip()
    return ""


def identity_in(answer: Mapping[str, Any], *, name_claim: str, groups: tuple[str, ...], issuer: str = "") -> Identity:
    """Return the identity in the claims ``answer``; ``issuer``: used where the claims have none.

    Who has an account id with unprintable characters is nobody: it might not be possible to encode it.
    """
    subject = next((answer[key] for key in _ACCOUNT_NAMES if isinstance(answer.get(key), str)), "")
    name, stated = name_in(answer, name_claim), answer.get("iss")
    if not subject.isprintable():
        name = subject = ""
    return Identity(name, subject, groups, stated if isinstance(stated, str) else issuer)
