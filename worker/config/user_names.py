"""Names of users, as they are read from an identity provider's claims by the API and Flower alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Claims in which providers send the user's name, besides the configured one.
_OTHER_NAMES = ("username", "upn", "cern_upn")
#: In which they send the id of the client that a token was issued to, which is the account of a machine.
CLIENTS = ("client_id", "azp", "cid")


def name_in(answer: Mapping[str, Any], claim: str) -> str:
    """Return the user's name, or the client id of a machine account. Empty when there is neither.

    Names with unprintable characters are ignored: they could be mistaken for other names, or break lines.
    """
    return user_name_in(answer, claim) or _first(answer, ("sub", *CLIENTS))


def user_name_in(answer: Mapping[str, Any], claim: str) -> str:
    """Return the name of a person, which is chosen by people and is no id. Empty when there is none."""
    return _first(answer, (claim, *_OTHER_NAMES))


def _first(answer: Mapping[str, Any], claims: tuple[str, ...]) -> str:
    for key in claims:
        value = answer.get(key)
        if isinstance(value, str) and value.strip() and value.strip().isprintable():
            return value.strip()
    return ""
