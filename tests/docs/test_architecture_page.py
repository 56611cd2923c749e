"""The table of Redis's keys has every key that the code writes."""

from __future__ import annotations

import re
from pathlib import Path

_TOP = Path(__file__).resolve().parents[2]
_IN_LUA = re.compile(r"\bP \.\. '([a-z_-]+)")
_IN_PYTHON = re.compile(r"""prefix\}([a-z_-]+)|prefix \+ ["']([a-z_-]+)""")
#: Deleted in order to be the first write of a script; never there.
_NEVER_THERE = {"oom_probe"}


def _written() -> set[str]:
    lua = [path.read_text() for path in (_TOP / "worker" / "store" / "lua").glob("*.lua")]
    python = [path.read_text() for folder in ("api", "worker") for path in (_TOP / folder).rglob("*.py")]
    names = {name for text in lua for name in _IN_LUA.findall(text)}
    return names | {one or other for text in python for one, other in _IN_PYTHON.findall(text)}


def test_every_key_is_explained() -> None:
    page = (_TOP / "docs" / "architecture.md").read_text()
    keys = _written() - _NEVER_THERE
    assert len(keys) > 20
    assert {key for key in keys if not re.search(rf"`{key}\b", page)} == set()
