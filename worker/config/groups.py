"""Groups of people: how settings list them, and where an identity provider says them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any


def split_names(text: str) -> tuple[str, ...]:
    """A comma-separated list as CSV has it: names with spaces as they are, names with commas or quotes in quotes.

    Raises:
        ValueError: how it must be written.
    """
    try:
        rows = list(csv.reader(text.splitlines(), skipinitialspace=True, strict=True))
    except csv.Error as exc:
        raise ValueError(
            f'is no comma-separated list ({exc}); a name with a quote or comma is written "a ""b"", c"'
        ) from exc
    return tuple(dict.fromkeys(name.strip() for row in rows for name in row if name.strip()))


def groups_in(answer: Mapping[str, Any], claim: str) -> tuple[str, ...] | None:
    """The groups under ``claim`` (dots lead into objects: ``realm_access.roles``); None when there is no such claim."""
    value: Any = answer.get(claim)
    if value is None and "." in claim:
        value = answer
        for step in claim.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    if value is None:
        return None
    listed = [value] if isinstance(value, str) else value
    return tuple(group for group in listed if isinstance(group, str)) if isinstance(listed, list) else ()
