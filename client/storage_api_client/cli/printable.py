"""Texts of the service for a terminal: what others wrote must neither control it nor begin a line."""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SUBSTITUTE = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """Return the text with blanks for tabs and line breaks, and a substitute for other control characters."""
    return _CONTROLS.sub(lambda control: " " if control[0].isspace() else _SUBSTITUTE, text)
