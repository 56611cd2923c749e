"""Sizes as people write them ("10GiB", "500 GB") and as the API wants them: bytes.

Units of IEC 80000-13: KiB, MiB, GiB … are powers of 1024; kB, MB, GB … are powers of 1000.
"""

from __future__ import annotations

import re

_PREFIXES = "KMGTPE"
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate(_PREFIXES, 1)}
_UNITS |= {f"{prefix}I": 1024**power for power, prefix in enumerate(_PREFIXES, 1)}
_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate(_PREFIXES, 1)}
_UNITS |= {prefix: 1000**power for power, prefix in enumerate(_PREFIXES, 1)}
_SIZE = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([A-Za-z]{0,3})\s*", re.ASCII)
#: Behind two dots a range ends; behind one, a fraction.
_IN_EXPRESSION = re.compile(
    r"(?<!\w)(?<![^.]\.)(?<!^\.)([0-9]{1,20}(?:\.[0-9]{1,20})?\s*[A-Za-z]{1,3})(?!\w)", re.ASCII
)
_STEP = 1024


def parse_size(size: int | str) -> int:
    """Return a size in bytes.

    Args:
        size: bytes, or a number with a unit: "10GiB", "500 GB", "1.5 TiB"; upper and lower case are alike.

    Raises:
        ValueError: it is no size, or no whole number of bytes.
    """
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(f"a size is a number of bytes or a text like '10GiB', not {size!r}")
    if isinstance(size, int):
        return size
    match = _SIZE.fullmatch(size)
    factor = _UNITS.get(match[2].upper()) if match else None
    if not match or factor is None:
        raise ValueError(f"{size!r} is no size: write a number of bytes, or a unit as in 10GiB or 500GB")
    return _bytes(match[1], factor, size)


def _bytes(number: str, factor: int, size: str) -> int:
    whole, _, fraction = number.partition(".")
    numerator, denominator = int(whole + fraction) * factor, 10 ** len(fraction)
    if numerator % denominator:
        raise ValueError(f"{size!r} is no whole number of bytes")
    return int(numerator // denominator)


def format_size(size: int | None) -> str:
    """Return a size in bytes for people, with three significant digits: "10.0 GiB"; "" for None."""
    if size is None:
        return ""
    if abs(size) < _STEP:
        return f"{size} B"
    value, unit = float(size), ""
    for prefix in _PREFIXES:
        value, unit = value / _STEP, f"{prefix}iB"
        if abs(value) < 1000:  # noqa: PLR2004 - four digits would be read as the next unit
            break
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0  # noqa: PLR2004 - significant digits
    return f"{value:.{digits}f} {unit}"


def sizes_in_expression(expression: str) -> str:
    """Return a filter expression on a size (">1TB", "1GiB..2GiB") with its sizes in bytes."""
    return _IN_EXPRESSION.sub(lambda match: _bytes_or_same(match[1]), expression)


def _bytes_or_same(text: str) -> str:
    try:
        return str(parse_size(text))
    except ValueError:
        return text  # The service says what is wrong with it.
