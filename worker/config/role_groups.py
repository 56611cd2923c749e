"""Groups of users: how settings list them, and how they are read from an identity provider's claims."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any


def split_names(text: str) -> tuple[str, ...]:
    """Read a comma-separated list in the form of CSV: names that contain commas or quotes are quoted.

    Raises:
        ValueError: it is malformed; the message says how it must be written.
    """
    try:
        rows = list(csv.reader(text.splitlines(), skipinitialspace=True, strict=True))
    except csv.Error as exc:
        raise ValueError(
            f'is no comma-separated list ({exc}); a name with a quote or comma is written "a ""b"", c"'
        ) from exc
    return tuple(dict.fromkeys(name.strip() for row in rows for name in row if name.strip()))


def groups_in(answer: Mapping[str, Any], claim: str) -> tuple[str, ...] | None:
    """Return the groups in ``claim`` (dots address nested objects: ``realm_access.roles``); None without that claim."""
    value: Any = answer.get(claim)
    if value is None and "." in claim:
        value = answer
        for step in claim.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    if value is None:
        return None
    listed = [value] if isinstance(value, str) else value
    return tuple(group for group in listed if isinstance(group, str)) if isinstance(listed, list) else ()
