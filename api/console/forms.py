"""What forms send, as bodies of the API. Whatever is not of a known form goes to the API as it is, which refuses it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from flask import request

_SIZE = re.compile(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([kmgtp]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
#: The smallest size that the API refuses as too large.
_TOO_LARGE = 2**63

SIZES = frozenset({"size_total", "max_autosize"})
NUMBERS = frozenset({"percentage_snapshot_reserve"})
FLAGS = frozenset({"autosize_enabled", "compression_enabled", "inline_compression", "purge_old_if_needed"})


def parse_size(text: str) -> int | str:
    """Read ``10GiB``, ``500 GB`` or ``1024`` as bytes, exactly; anything else is returned as it is."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return text
    number, unit, binary = match.groups()
    factor = (1024 if binary and unit else 1000) ** _POWERS[unit.lower()]
    return min(int(Fraction(number) * factor), _TOO_LARGE)


def body_of(fields: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the body for the API from a form's fields; an empty field is left out."""
    texts = {name: str(fields[name]).strip() for name in names if str(fields.get(name, "")).strip()}
    return {name: _value(name, text) for name, text in texts.items()}


def changed_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a PATCH: the fields whose value is not the one that the form was filled with.

    The form says in ``was-NAME`` what that was. A field that was emptied is left as it is; a comment can be emptied.
    """
    names = tuple(name.removeprefix("was-") for name in fields if name.startswith("was-"))
    changed = tuple(name for name in names if str(fields.get(name, "")).strip() != str(fields[f"was-{name}"]).strip())
    emptied = {"comment": ""} if "comment" in changed and not str(fields.get("comment", "")).strip() else {}
    return body_of(fields, changed) | emptied


def _value(name: str, text: str) -> Any:
    if name in SIZES:
        return parse_size(text)
    if name in FLAGS:
        return {"yes": True, "no": False}.get(text, text)
    if name in NUMBERS and text.isascii() and text.isdigit() and len(text) < 10:  # noqa: PLR2004 - no percentage
        return int(text)
    return text


def field_errors(problem: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what the API found wrong, by the field's name ('' for the whole)."""
    errors = (problem or {}).get("errors") or []
    return {str(error["pointer"]).lstrip("/").partition("/")[0]: str(error["detail"]) for error in errors}


def wrong_name(values: Mapping[str, Any], field: str) -> str:
    """Return what is wrong with a value that becomes a part of an address (empty: nothing); the API checks the rest."""
    value = str(values.get(field, "")).strip()
    if not value:
        return "must be given"
    return "must be a name, without “/”" if "/" in value else ""


def form_key(values: Mapping[str, Any], problem: Mapping[str, Any] | None) -> str:
    """Return the key for the next form: the same one again, unless it was sent with other values before."""
    was_used = (problem or {}).get("code") == "idempotency-key-reused"
    key = "" if was_used else str(values.get("key") or "")
    return key or secrets.token_hex(16)


def idempotency_key() -> dict[str, str]:
    """Return the header with which a form that is sent twice makes one job."""
    key = request.form.get("key", "")
    return {"Idempotency-Key": key} if key else {}
