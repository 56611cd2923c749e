"""No stream of a test goes on beside the next one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.events.listeners import Watcher


@pytest.fixture(autouse=True)
def no_stream_is_left() -> Iterator[None]:
    """Otherwise the thread that serves it runs beside all later tests."""
    yield
    for watcher in Watcher.opened:
        watcher.stream.close()
    Watcher.opened.clear()
