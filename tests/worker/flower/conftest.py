"""The audit log of Flower."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.config.audit_log import logger


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[Path]:
    """The file of the audit log of this process, inside the test."""
    before = logger.handlers[:]
    logger.handlers[:] = []
    yield tmp_path / "audit.log"
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = before
