"""The dummy, which can be opened several times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage_backends.configuration.options import DummyOptions
from storage_backends.dummy import DummyStorage

OpenDummy = Callable[..., DummyStorage]


@pytest.fixture
def open_dummy(tmp_path: Path) -> Iterator[OpenDummy]:
    """Open the same state several times, as several workers do."""
    opened: list[DummyStorage] = []

    def open_one(**options: Any) -> DummyStorage:
        settings: dict[str, Any] = {"volumes": 0, "state_dir": str(tmp_path), "snapshot_limit": 4} | options
        opened.append(DummyStorage(DummyOptions(**settings), name="dummy"))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()
