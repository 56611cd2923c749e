"""Filter expressions on a field, as ONTAP has them: ``name=db*``, ``size_used=>1000000``, ``state=!online``, ``1..5``.

An expression is a choice of alternatives (``|``), each a value, a wildcard, a comparison, a range or ``null``; ``!`` in
front turns the whole round; in double quotes every character is itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Predicate = Callable[[Any], bool]

_UNITS = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40, "PB": 2**50}
_INTEGER = re.compile(r"(-?[0-9]{1,20})(KB|MB|GB|TB|PB|)\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]*Z\Z")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda value, bound: value >= bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    "<": lambda value, bound: value < bound,
}


class BadExpression(ValueError):
    """The expression makes no sense for its field; the message says why."""


def compile_expression(text: str, kind: type) -> Predicate:
    """Return whether a field's value fits ``text``; ``kind`` is the field's type: str, int, bool, or tuple (of
    strings).

    Raises:
        BadExpression: it can never make sense.
    """
    if text.startswith("!"):
        wanted = compile_expression(text[1:], kind)
        return lambda value: not wanted(value)
    fits = [_alternative(part, str if kind is tuple else kind) for part in _split(text)]
    if kind is tuple:
        return lambda values: any(fit(value) for value in values or () for fit in fits)
    if len(fits) == 1:
        return fits[0]
    return lambda value: any(fit(value) for fit in fits)


def _split(text: str) -> list[str]:
    parts = re.findall(r'(?:"[^"]*"|[^|"])+|(?<=\|)(?=\||\Z)|\A(?=\|)', text)
    if not text or not parts or any(not part for part in parts) or text.count('"') % 2:
        raise BadExpression("is empty, has an empty alternative, or a quotation mark without its pair")
    return parts


def _alternative(text: str, kind: type) -> Predicate:
    if text == "null":
        return lambda value: value is None
    for sign, compare in _COMPARISONS.items():
        if text.startswith(sign):
            return _compared(compare, _value(text[len(sign) :], kind), kind)
    low, dots, high = text.partition("..")
    if dots and '"' not in text:
        return _ranged(_value(low, kind), _value(high, kind), kind)
    if kind is str and "*" in text and '"' not in text:
        return _wildcard(text)
    wanted = _value(text, kind, plain=True)
    return lambda value: value == wanted


def _wildcard(text: str) -> Predicate:
    """``*`` stands for any text. Looked for part by part, so that no pattern takes long."""
    first, *middle, last = text.split("*")

    def fits(value: str | None) -> bool:
        if value is None or len(value) < len(first) + len(last):
            return False
        if not (value.startswith(first) and value.endswith(last)):
            return False
        at, end = len(first), len(value) - len(last)
        for part in middle:
            at = value.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True

    return fits


def _compared(compare: Callable[[Any, Any], bool], bound: Any, kind: type) -> Predicate:
    if kind is bool:
        raise BadExpression("cannot be compared: it is true or false")
    return lambda value: value is not None and compare(_comparable(value), bound)


def _ranged(low: Any, high: Any, kind: type) -> Predicate:
    if kind is bool:
        raise BadExpression("has no ranges: it is true or false")
    return lambda value: value is not None and low <= _comparable(value) <= high


def _comparable(value: Any) -> Any:
    # Times may have fractions of a second: only without the Z do they sort as text.
    return value[:-1] if isinstance(value, str) and _TIME.match(value) else value


def _value(text: str, kind: type, *, plain: bool = False) -> Any:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    elif not text:
        raise BadExpression("lacks a value")
    if kind is int:
        return _integer(text)
    if kind is bool:
        return _boolean(text)
    return text if plain else _comparable(text)


def _integer(text: str) -> int:
    found = _INTEGER.match(text.upper())
    if found is None:
        raise BadExpression("takes an integer, with KB, MB, GB or TB behind it if you like")
    return int(found[1]) * _UNITS[found[2]]


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise BadExpression("takes true or false")
    return text.lower() == "true"
