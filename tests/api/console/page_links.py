"""Links of pages."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit


def query_of(text: str, rel: str) -> dict[str, list[str]]:
    match = re.search(rf'rel="{rel}" href="([^"]+)"', text)
    assert match
    return parse_qs(urlsplit(unescape(match[1])).query)
