"""ONTAP's query language: operators are part of the values, and every parameter narrows the result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any


def values_at(record: Any, name: str) -> list[Any]:
    """The values at a dotted name, also in items of lists. Empty: not set."""
    values = [record]
    for part in name.split("."):
        values = [item for value in values for item in _step(value, part)]
    return [item for value in values for item in (value if isinstance(value, list) else [value]) if item is not None]


def _step(value: Any, part: str) -> Iterator[Any]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and part in item:
            yield item[part]


def matches(record: dict[str, Any], query: dict[str, str]) -> bool:
    """Does the record meet every parameter?"""
    return all(_meets(values_at(record, name), expression) for name, expression in query.items())


def _meets(values: list[Any], expression: str) -> bool:
    return any(_term(values, term) for term in _alternatives(expression))


def _alternatives(expression: str) -> list[str]:
    """The parts between ``|`` that are not quoted."""
    parts = re.findall(r'(?:"[^"]*"|\{(?:[^{}]|\{\{|\}\})*\}|[^|])+', expression)
    return parts or [""]


def _literal(term: str) -> str | None:
    if len(term) > 1 and term[0] == term[-1] == '"':
        return term[1:-1]
    if len(term) > 1 and term[0] == "{" and term[-1] == "}":
        return term[1:-1].replace("{{", "{").replace("}}", "}")
    return None


def _term(values: list[Any], term: str) -> bool:
    exact = _literal(term)
    if exact is not None:
        return any(_same(value, exact) for value in values)
    if term == "null":
        return not values
    if term.startswith("!"):
        return not _meets(values, term[1:])
    if bound := re.fullmatch(r"(<=|>=|<|>)(.*)", term):
        return any(_compare(value, bound[1], _literal(bound[2]) or bound[2]) for value in values)
    if ".." in term:
        low, _, high = term.partition("..")
        return any(_compare(value, ">=", low) and _compare(value, "<=", high) for value in values)
    pattern = ".*".join(re.escape(part) for part in term.split("*"))
    return any(re.fullmatch(pattern, _text(value)) for value in values)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _same(value: Any, expected: str) -> bool:
    return _text(value) == expected


def _compare(value: Any, operator: str, bound: str) -> bool:
    operand: Any = value
    bound_value: Any = bound
    if isinstance(value, int):
        if not bound.lstrip("-").isdigit():
            return False
        bound_value = int(bound)
    return bool(
        {
            "<": operand < bound_value,
            ">": operand > bound_value,
            "<=": operand <= bound_value,
            ">=": operand >= bound_value,
        }[operator]
    )
