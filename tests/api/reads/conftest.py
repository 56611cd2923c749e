"""A service for each test, made as the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from api.reads import lookup as reads
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


@pytest.fixture
def read_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose listings were read, and how often a read reached the application itself."""
    service.get()
    service.get("export")
    service.run_all()
    copy = reads._cached_copy

    def counted(read: Any) -> Any:
        service.times.append(read.cache_key)
        return copy(read)

    monkeypatch.setattr(reads, "_cached_copy", counted)
    return service
