"""What a provider says about somebody, in whatever shape it says it, as an ``Identity``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.auth.principals import Identity

#: Names of users that providers use, besides the configured one.
_OTHER_NAMES = ("username", "upn", "cern_upn")
_ACCOUNT_NAMES = ("sub", "client_id", "azp", "cid")


def name_in(answer: Mapping[str, Any], claim: str) -> str:
    """The user's name; a machine's account, which has none, goes by its id. Empty when nothing names anybody.

    What cannot be printed is no name: it would look like another one, or like another line, wherever it is shown.
    """
    for key in (claim, *_OTHER_NAMES, *_ACCOUNT_NAMES):
        value = answer.get(key)
        if isinstance(value, str) and value.strip() and value.strip().isprintable():
            return value.strip()
    return ""


def identity_in(answer: Mapping[str, Any], *, name_claim: str, groups: tuple[str, ...], issuer: str = "") -> Identity:
    """Who the claims in ``answer`` are about; ``issuer``: of whom they come where they do not say."""
    subject = next((answer[key] for key in _ACCOUNT_NAMES if isinstance(answer.get(key), str)), "")
    stated = answer.get("iss")
    return Identity(name_in(answer, name_claim), subject, groups, stated if isinstance(stated, str) else issuer)
