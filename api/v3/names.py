"""Validation of names in paths below /v3: 400 for invalid names of new objects, otherwise 404."""

from __future__ import annotations

import re
from collections.abc import Mapping

from api.http.problems import Problem
from api.schemas import names

_VOLUME = re.compile(r"[A-Za-z0-9:/_.-]+\Z")
_LONGEST_RULE = 255
#: Methods that create the object that the path names.
_MAKES = frozenset({"POST", "PUT"})


def check_path(path: Mapping[str, str], method: str) -> None:
    """Refuse names in a path that are not valid.

    Raises:
        Problem: 400 for the name of a new object, and for invalid characters in a volume's name; otherwise 404.
    """
    if "volume" in path:
        _check_volume(path["volume"], makes=method == "POST" and not {"name", "host"} & set(path))
    if "name" in path and names.snapshot(path["name"]):
        _refuse("no-such-snapshot", "Invalid snapshot name", method)
    if "host" in path and names.host(path["host"]):
        _refuse("not-found", "Invalid host name", method)
    if "policy" in path and names.policy(path["policy"]):
        _refuse("no-such-policy", "Invalid policy name", method)
    if "rule" in path and not is_rule(path["rule"]):
        _refuse("not-found", "Invalid rule", method)


def is_rule(text: str) -> bool:
    """Has this the form of a rule? The filer validates its meaning, as with the predecessor."""
    return 0 < len(text) <= _LONGEST_RULE and text.isprintable() and not any(c.isspace() for c in text)


def rule(text: str) -> str:
    """Return what is wrong with a rule; empty when it is valid."""
    return "" if is_rule(text) else "must be 1 to 255 characters, none of them white space or control characters"


def not_empty(text: str) -> str:
    """Return what is wrong with a text that must not be empty."""
    return "" if text else "must not be empty"


def _check_volume(volume: str, *, makes: bool) -> None:
    cannot_be = names.volume(volume)
    if not _VOLUME.match(volume) or (makes and cannot_be):
        raise Problem("invalid-request", "Invalid volume name")
    if cannot_be:
        raise Problem("no-such-volume", cannot_be)


def _refuse(code: str, invalid: str, method: str) -> None:
    if method in _MAKES:
        raise Problem("invalid-request", invalid)
    raise Problem(code, f"{invalid}: there is nothing of that name.")
