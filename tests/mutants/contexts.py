"""A plugin for pytest that tells coverage which test runs, and notes how long each took."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from coverage import Coverage

#: Where the seconds of each test are written, as JSON.
DURATIONS_VARIABLE = "MUTANTS_DURATIONS"
_durations: dict[str, float] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    measured = Coverage.current()
    assert measured is not None
    measured.switch_context(item.nodeid)
    began = time.perf_counter()
    try:
        return (yield)
    finally:
        _durations[item.nodeid] = time.perf_counter() - began
        measured.switch_context("")


def pytest_sessionfinish() -> None:
    Path(os.environ[DURATIONS_VARIABLE]).write_text(json.dumps(_durations))
