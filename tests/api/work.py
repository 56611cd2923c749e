"""Counts the work that Python does for a call, by no clock: the same on every machine, however busy that is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

#: Methods of built-in types that look at the whole of their object each time.
_LINEAR = frozenset({
    "casefold", "count", "decode", "encode", "index", "insert", "join", "lower", "lstrip", "partition", "remove",
    "replace", "rpartition", "rstrip", "split", "strip", "title", "translate", "upper",
})  # fmt: skip
_SIZED = (str, bytes, bytearray, list, tuple)


def work_of(call: Callable[[], object]) -> int:
    """Return how many lines were run, and how many items built-in methods looked at."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    def profile(_frame: FrameType, event: str, function: Any) -> None:
        nonlocal count
        if event == "c_call" and getattr(function, "__name__", "") in _LINEAR:
            owner = getattr(function, "__self__", None)
            count += len(owner) if isinstance(owner, _SIZED) else 0

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before[1])
        sys.settrace(before[0])
    return count
