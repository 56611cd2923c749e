"""The list of storage systems in one variable: 🦄 separates storage systems, 🌈 the parts of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from storage_backends.configuration.entry import ConfigurationError, Entry, ReadValue
from storage_backends.configuration.options import OptionValue

UNICORN = "\N{UNICORN FACE}"
RAINBOW = "\N{RAINBOW}"
#: Variation selectors, which some keyboards add to an emoji.
_VARIATION = "[\N{VARIATION SELECTOR-15}\N{VARIATION SELECTOR-16}]?"
_BETWEEN = re.compile(UNICORN + _VARIATION)
_WITHIN = re.compile(RAINBOW + _VARIATION)
#: White space with a line break is formatting; other white space may belong to a value.
_LAYOUT = re.compile(r"\A[ \t]*[\r\n]\s*|\s*[\r\n][ \t]*\Z")


def parse(text: str, variable: str) -> list[Entry]:
    """Return the entries of ``name🌈Class🌈option🌈value…🦄name🌈Class…``.

    Raises:
        ConfigurationError: an entry has no class.
    """
    parts = [part for part in _BETWEEN.split(text) if part.strip()]
    return [_entry(part, f"back-end {number} of {variable}") for number, part in enumerate(parts, start=1)]


def _entry(text: str, place: str) -> Entry:
    name, *rest = _WITHIN.split(text)
    if not rest or not rest[0].strip():
        raise ConfigurationError(
            f"{place} has no class: write it as name{RAINBOW}Class, as in dummy{RAINBOW}DummyStorage"
        )
    return Entry(place, name.strip(), rest[0].strip(), partial(_options, rest[1:]))


def _options(parts: list[str]) -> list[tuple[str, ReadValue]]:
    if len(parts) % 2:
        raise ValueError(f"its options are odd: each needs a name and a value, with a {RAINBOW} between")
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [(name.strip(), partial(_verbatim, _LAYOUT.sub("", value))) for name, value in pairs]


def _verbatim(value: str, _environ: Mapping[str, str]) -> OptionValue:
    return value
