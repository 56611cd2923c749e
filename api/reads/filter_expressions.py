"""Filter expressions on a field, as ONTAP has them: ``name=db*``, ``size_used=>1000000``, ``state=!online``, ``1..5``.

An expression has alternatives (``|``), each a value, a wildcard, a comparison, a range or ``null``; ``!`` in
front negates the whole; in double quotes every character is literal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from api.schemas.times import EPOCH, unix_us

Predicate = Callable[[Any], bool]

_UNITS = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40, "PB": 2**50}
_INTEGER = re.compile(r"(-?[0-9]{1,20})(KB|MB|GB|TB|PB|)\Z")
#: A wildcard with asterisks at its ends alone.
_SIMPLE_WILDCARD = re.compile(r'(?=.*\*)(?!.*\.\.)\*?[^*"<>]*\*?\Z', re.DOTALL)
#: Comparison functions for the operators.
_COMPARISONS: dict[str, Callable[[Any], Predicate]] = {
    ">=": lambda bound: lambda value: value is not None and value >= bound,
    "<=": lambda bound: lambda value: value is not None and value <= bound,
    ">": lambda bound: lambda value: value is not None and value > bound,
    "<": lambda bound: lambda value: value is not None and value < bound,
}


class BadExpression(ValueError):
    """The expression is not valid for its field; the message says why."""


def compile_expression(text: str, kind: type) -> Predicate:
    """Return a predicate for the expression ``text``; ``kind`` is the field's type: str, int, bool, tuple (of strings),
    or datetime (whose values are text, as in RFC 3339).

    Raises:
        BadExpression: it is not valid for that type.
    """
    plain = text.lstrip("!")
    if (len(text) - len(plain)) % 2:
        positive = compile_expression(plain, kind)
        return lambda value: not positive(value)
    parts = _split(plain)
    fits = [_alternative(part, str if kind is tuple else kind) for part in parts]
    if kind is str and len(parts) > 1 and all(map(_SIMPLE_WILDCARD.match, parts)):
        return _any_wildcard(parts)
    if kind is tuple:
        return lambda values: any(fit(value) for value in values or () for fit in fits)
    if len(fits) == 1:
        return fits[0]
    return lambda value: any(fit(value) for fit in fits)


def count_terms(text: str) -> int:
    """Return the cost of an expression for each record: the number of its alternatives and parts of wildcards."""
    return 1 + text.count("|") + text.count("*")


def _split(text: str) -> list[str]:
    alternatives = re.findall(r'(?:"[^"]*"|[^|"])+|(?<=\|)(?=\||\Z)|\A(?=\|)', text)
    if not text or any(not part for part in alternatives) or text.count('"') % 2:
        raise BadExpression("is empty, has an empty alternative, or a quotation mark without its pair")
    return alternatives


def _alternative(text: str, kind: type) -> Predicate:
    if text == "null":
        return lambda value: value is None
    for sign, compare in _COMPARISONS.items():
        if text.startswith(sign):
            return _compared(compare, _value(text[len(sign) :], kind), kind)
    low, dots, high = text.partition("..")
    if dots and '"' not in text:
        return _ranged(_value(low, kind), _value(high, kind), kind)
    if kind in (str, datetime) and "*" in text and '"' not in text:
        return _wildcard(text)
    expected = _value(text, kind)
    return (lambda value: _comparable(value, kind) == expected) if kind is datetime else lambda value: value == expected


def _wildcard(text: str) -> Predicate:
    """``*`` matches any text. Parts are searched one after another, so that matching takes linear time."""
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


def _any_wildcard(texts: list[str]) -> Predicate:
    """Any of many wildcards with asterisks at their ends alone, in one look at the value."""
    search = re.compile("|".join(map(_pattern, texts)), re.DOTALL).search
    return lambda value: value is not None and search(value) is not None


def _pattern(text: str) -> str:
    begins = "" if text.startswith("*") else r"\A"
    ends = "" if text.endswith("*") else r"\Z"
    return f"{begins}{re.escape(text.strip('*'))}{ends}"


def _compared(compare: Callable[[Any], Predicate], bound: Any, kind: type) -> Predicate:
    if kind is bool:
        raise BadExpression("cannot be compared: it is true or false")
    fits = compare(bound)
    return (lambda value: fits(_comparable(value, kind))) if kind is datetime else fits


def _ranged(low: Any, high: Any, kind: type) -> Predicate:
    if kind is bool:
        raise BadExpression("has no ranges: it is true or false")
    return lambda value: value is not None and low <= _comparable(value, kind) <= high


def _comparable(value: Any, kind: type) -> Any:
    # Times may have fractions of a second: they sort as text only without the Z.
    return value.removesuffix("Z") if kind is datetime and value is not None else value


def _value(text: str, kind: type) -> Any:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    elif not text:
        raise BadExpression("lacks a value")
    if kind is int:
        return _integer(text)
    if kind is bool:
        return _boolean(text)
    return _time(text) if kind is datetime else text


def _integer(text: str) -> int:
    match = _INTEGER.match(text.upper())
    if match is None:
        raise BadExpression("takes an integer, with KB, MB, GB or TB behind it if you like")
    return int(match[1]) * _UNITS[match[2]]


def _time(text: str) -> str:
    """Return the time in UTC, in the form of `_comparable`; without a zone it is in UTC.

    All forms of the filters of jobs (RFC 3339), and of ISO 8601 those that Python reads.
    """
    time_us = unix_us(text)
    try:
        parsed = datetime.fromisoformat(text) if time_us is None else EPOCH + timedelta(microseconds=time_us)
        moment = parsed.astimezone(UTC) if parsed.tzinfo else parsed
    except (ValueError, OverflowError):
        raise BadExpression("takes a time, such as 2026-01-31T12:00:00Z (write + as %2B)") from None
    formatted = moment.replace(tzinfo=None).isoformat()
    return formatted.rstrip("0") if "." in formatted else formatted


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise BadExpression("takes true or false")
    return text.lower() == "true"
