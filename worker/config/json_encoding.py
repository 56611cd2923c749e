"""Values as JSON, for records and scripts."""

from __future__ import annotations

import json
from typing import Any

import orjson


def as_json(value: Any, default: Any = None) -> bytes:
    """Return a value as JSON, also one that orjson has no form for: a text that is no Unicode, a number beyond 64 bits.

    ``default``: makes something else of what JSON has no form for.
    """
    try:
        return orjson.dumps(value, default=default)
    except TypeError:
        return json.dumps(value, default=default).encode()
