"""A front end for the tests, each of which finds an empty Redis."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.front_end import FrontEnd, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask.testing import FlaskClient
    from redis import Redis


@pytest.fixture(scope="session", autouse=True)
def _no_flushing_threads() -> Iterator[None]:
    """Counters are written when a test reads them: a thread would write those of one test while the next one counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.store.metrics.CounterBuffer.start_flushing", lambda _self: None)
        yield


@pytest.fixture(scope="session")
def shared_front(redis_url: str) -> FrontEnd:
    """Made once: an application takes a while, and keeps nothing of a request."""
    return FrontEnd(redis_url)


@pytest.fixture
def front_end(shared_front: FrontEnd, redis_client: Redis) -> FrontEnd:
    """On an empty Redis, with nothing counted."""
    shared_front.flush_counters()
    redis_client.delete("sapi:metrics")
    return shared_front


@pytest.fixture
def client(front_end: FrontEnd) -> FlaskClient:
    """A client with every role."""
    return front_end.client()


@pytest.fixture
def worker(front_end: FrontEnd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setenv("SAPI_STATE_DIR", str(tmp_path))
    return front_end.worker()


@pytest.fixture
def audit(front_end: FrontEnd, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The lines of the audit log since the test began."""
    front_end.app()
    logger = logging.getLogger("audit")
    logger.addHandler(caplog.handler)
    yield lambda: [json.loads(record.getMessage()) for record in caplog.records if record.name == "audit"]
    logger.removeHandler(caplog.handler)


@pytest.fixture
def worker_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[FrontEnd], Worker]:
    """Makes a worker for the jobs of a front end of the test's own."""
    monkeypatch.setenv("SAPI_STATE_DIR", str(tmp_path))
    return lambda front_end: front_end.worker()
