"""Converts the claims of various providers to an ``Identity``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.auth.principals import Identity

#: Claims in which providers send the user's name, besides the configured one.
_OTHER_NAMES = ("username", "upn", "cern_upn")
#: In which they send the id of the client that a token was issued to, which is the account of a machine.
_CLIENTS = ("client_id", "azp", "cid")


def name_in(answer: Mapping[str, Any], claim: str) -> str:
    """Return the user's name, or the client id of a machine account. Empty when there is neither.

    Names with unprintable characters are ignored: they could be mistaken for other names, or break lines.
    """
    return _first_name(answer, (claim, *_OTHER_NAMES, "sub", *_CLIENTS))


def subject_in(answer: Mapping[str, Any], name_claim: str) -> str:
    """Return the id of an account: `sub`, or the client of a token that names no user. Empty when there is neither.

    Users whose tokens have no `sub` share the client that these were issued to, which is the id of none of them.
    """
    stated = answer.get("sub")
    if isinstance(stated, str):
        return stated
    if _first_name(answer, (name_claim, *_OTHER_NAMES)):
        return ""
    return next((answer[key] for key in _CLIENTS if isinstance(answer.get(key), str)), "")


def identity_in(answer: Mapping[str, Any], *, name_claim: str, groups: tuple[str, ...], issuer: str = "") -> Identity:
    """Return the identity in the claims ``answer``; ``issuer``: used where the claims have none.

    Who has an account id with unprintable characters is nobody: it might not be possible to encode it.
    """
    subject = subject_in(answer, name_claim)
    name, stated = name_in(answer, name_claim), answer.get("iss")
    if not subject.isprintable():
        name = subject = ""
    return Identity(name, subject, groups, stated if isinstance(stated, str) else issuer)


def _first_name(answer: Mapping[str, Any], claims: tuple[str, ...]) -> str:
    for key in claims:
        value = answer.get(key)
        if isinstance(value, str) and value.strip() and value.strip().isprintable():
            return value.strip()
    return ""
