"""Processes that end with the test, also when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.deployment import Deployment


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """Processes in a folder of the test; ended and waited for."""
    made = Deployment(tmp_path)
    yield made
    made.stop()
