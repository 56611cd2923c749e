"""The request header X-Fields: selects the keys of objects and their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.http.problems import Problem

HEADER = "X-Fields"

#: Names of keys; None: all.
Mask = tuple[str, ...] | None


def parse(text: str | None) -> Mask:
    """Return the mask in a header: names separated by commas, optionally within one pair of braces.

    Raises:
        Problem: `invalid-request`: it is malformed.
    """
    text = (text or "").strip()
    if not text:
        return None
    inner = text[1:-1] if text[0] == "{" and text[-1] == "}" else text
    if "{" in inner or "}" in inner:
        raise Problem("invalid-request", "Mask with nested or unbalanced braces: send names separated by commas.")
    if inner is not text and not inner.strip():
        return ()
    names = [name.strip() for name in inner.split(",")]
    if not all(names):
        raise Problem("invalid-request", "Mask with an empty name: send names separated by commas.")
    return None if "*" in names else tuple(dict.fromkeys(names))


def apply(mask: Mask, record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the selected keys of an object, in the mask's order; unknown names are ignored."""
    return record if mask is None else {name: record[name] for name in mask if name in record}
