"""Values as JSON, for records and scripts."""

from __future__ import annotations

import json
from typing import Any

import orjson


def as_json(value: Any, default: Any = None) -> bytes:
    """Return a value as JSON, also where orjson cannot: text with lone surrogates, numbers beyond 64 bits.

    ``default``: converts values of types that JSON does not have.
    """
    try:
        return orjson.dumps(value, default=default)
    except TypeError:
        return json.dumps(value, default=default).encode()
