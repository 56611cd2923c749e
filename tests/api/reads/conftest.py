"""A service for each test, made as the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.api.reads.service import Service


@pytest.fixture
def make_service(redis_client: Redis, redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(**values: Any) -> Service:
        made.append(Service(redis_url, tmp_path, **values))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    return make_service()
