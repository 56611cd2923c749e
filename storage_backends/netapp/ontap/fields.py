"""Access to the fields of ONTAP's records, each of which may be missing, null, or of a wrong type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Record = Mapping[str, Any]

_NOTHING: Record = {}


class Fields:
    """The fields of one record by dotted name; one of a wrong type reads as None and is added to ``odd``."""

    def __init__(self, record: Any) -> None:
        self._record = record if isinstance(record, dict) else _NOTHING
        self.odd: set[str] = set()

    def text(self, name: str) -> str | None:
        """Return a text field."""
        value = self._at(name)
        if value is None or isinstance(value, str):
            return value
        self.odd.add(name)
        return None

    def number(self, name: str) -> int | None:
        """Return an integer field."""
        value = self._at(name)
        if value is None or type(value) is int:
            return value
        self.odd.add(name)
        return None

    def _at(self, name: str) -> Any:
        value: Any = self._record
        for part in name.split("."):
            if not isinstance(value, dict):
                self.odd.add(name)
                return None
            if part not in value:
                return None
            value = value[part]
        if value is None:
            self.odd.add(name)
        return value


def first(entries: Any) -> Any:
    """Return the first entry of a list; None if there is none."""
    return entries[0] if isinstance(entries, list) and entries else None


def objects(entries: Any) -> Iterator[Record]:
    """Return the objects of a list; anything else is skipped."""
    return (entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else iter(())
