"""Mutants of the Lua scripts: conditions negated, calls dropped, comparisons and numbers off by one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.mutants.python import Edit

_CONDITION = re.compile(r"^(\s*(?:else)?if )(.+?)( then.*)$")
_DROPPED = re.compile(r"^\s*(redis\.call\(|[a-z_]+\()")
_SWAPS = {
    " < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " == ": " ~= ", " ~= ": " == ", " and ": " or ",
    " + 1": "",
}  # fmt: skip


def mutants(source: str) -> Iterator[Edit]:
    """Every mutant of a script, in the order of its lines."""
    for number, line in enumerate(source.splitlines(), 1):
        for text in _changed(line):
            yield Edit(number, 0, number, len(line.encode()), text)


def _changed(line: str) -> Iterator[str]:
    if line.lstrip().startswith("--"):
        return
    condition = _CONDITION.match(line)
    if condition:
        yield f"{condition[1]}not ({condition[2]}){condition[3]}"
    yield from (line.replace(old, new, 1) for old, new in _SWAPS.items() if old in line)
    if _DROPPED.match(line) and line.count("(") == line.count(")"):
        yield ""
