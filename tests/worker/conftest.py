"""A harness for each test, and a storage system prepared once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.lifetimes import OF_FILERS_S, wrong_lifetimes
from tests.worker.harness import Harness, prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def harness(redis_client: Redis, tmp_path: Path, prepared: Path) -> Iterator[Harness]:
    began_s = time.monotonic()
    made = Harness(redis_client, tmp_path / "state", prepared)
    yield made
    assert wrong_lifetimes(redis_client, began_s, OF_FILERS_S) == {}
    made.close()
