"""Paths and query parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias
from urllib.parse import quote, urlencode

from storage_api_client.protocol.changes import no_change
from storage_api_client.sizes import sizes_in_expression

#: Conditions on fields, by ONTAP's operators: {"name": "db*", "size_used": ">1TB"}, or a list of "FIELD=EXPRESSION".
Where: TypeAlias = "Mapping[str, object] | Iterable[str] | None"
#: What may stand in a path as it is (RFC 3986, pchar), and the slashes of paths, networks and policies.
_PLAIN = "/:@!$&'()*+,;=-._~"
#: What divides a path of the API, so that no segment of a name may be called so.
_WORDS = {"snapshots", "locks", "rule"}
_SIZES = {"size_total", "size_used", "max_autosize"}


def path(subsystem: str, *parts: str) -> str:
    """Return the path of something in a subsystem.

    Raises:
        Refused: a part is no name, and the path would be that of something else.
    """
    for part in (subsystem, *parts):
        _check(part)
    return "/".join(["/v4", *(quote(part, safe=_PLAIN) for part in (subsystem, *parts))])


def _check(part: str) -> None:
    """Refuse what would lead elsewhere: dots are resolved before a request is sent, and words divide its path."""
    segments = part.split("/")
    is_elsewhere = any(segment in ("", ".", "..") for segment in segments)
    if is_elsewhere or (len(segments) > 1 and not _WORDS.isdisjoint(segments)):
        raise no_change(f"{part!r} is no name: it must have no empty segment, none of dots, and none called snapshots, "
                        "locks or rule.")  # fmt: skip


def conditions(where: Where) -> tuple[tuple[str, str], ...]:
    """Return conditions as query parameters; sizes in them may have units.

    Raises:
        ValueError: one is no FIELD=EXPRESSION.
    """
    if where is None:
        return ()
    if isinstance(where, str):
        where = [where]
    pairs = where.items() if isinstance(where, Mapping) else [_pair(condition) for condition in where]
    return tuple((name, _expression(name, value)) for name, value in pairs)


def _pair(condition: str) -> tuple[str, str]:
    name, sign, expression = condition.partition("=")
    if not (name and sign and expression):
        raise ValueError(f"{condition!r} is no condition: write FIELD=EXPRESSION, as in name=db* or size_used=>1TB")
    return name.strip(), expression.strip()


def _expression(name: str, value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return sizes_in_expression(str(value)) if name in _SIZES else str(value)


def selection(where: Where, sort: str | None, fields: Iterable[str] | str | None) -> tuple[tuple[str, str], ...]:
    """Return the query of a collection."""
    names = fields.split(",") if isinstance(fields, str) else list(fields or ())
    chosen = {"sort": sort or "", "fields": ",".join(name.strip() for name in names)}
    return (*conditions(where), *((name, value) for name, value in chosen.items() if value))


def where_text(where: Where) -> str:
    """Return conditions as the text of a listing's query, as batches take it."""
    return urlencode(conditions(where), quote_via=quote, safe="*,:")
