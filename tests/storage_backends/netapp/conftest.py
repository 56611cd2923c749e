"""A simulated filer per test; where the published schema is installed, every request is validated against it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage_backends.base import StorageBackend
from storage_backends.netapp.ontap import jobs
from storage_backends.netapp.operations import mutation
from storage_backends.netapp.reconciliation import reconcile
from tests.ontap_simulator import Dialect, Simulator
from tests.ontap_simulator.published import PublishedSchema
from tests.storage_backends.netapp.changes import furnish
from tests.storage_backends.netapp.signed_in_drivers import open_backend


@pytest.fixture(scope="session")
def published_schema() -> PublishedSchema | None:
    """What NetApp publishes of ONTAP 9.19.1; None where the file is missing."""
    beside = Path(__file__).parents[4] / "shared"
    path = Path(os.environ.get("SAPI_TEST_SHARED", beside)) / "ontap" / "openapi-9.19.1-subset.json"
    return PublishedSchema.read(path) if path.exists() else None


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll more often than with a real filer."""
    monkeypatch.setattr(jobs, "FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr(reconcile, "PAUSE_S", 0.05)
    monkeypatch.setattr(reconcile, "SHOWN_S", 0.2)
    monkeypatch.setattr(mutation, "PAUSE_S", 0.01)
    monkeypatch.setattr(mutation, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def dialect() -> Dialect:
    """How the simulated filer answers."""
    return Dialect()


@pytest.fixture
def ontap(published_schema: PublishedSchema | None, dialect: Dialect) -> Iterator[Simulator]:
    """A simulated filer with nothing on it."""
    simulator = Simulator(dialect=dialect).start()
    yield simulator
    simulator.close()
    assert [seen for seen in simulator.requests if seen.method in {"POST", "PATCH"} and seen.body is None] == []
    if published_schema is not None:
        assert [error for seen in simulator.requests for error in published_schema.errors(seen)] == []


@pytest.fixture
def backend(ontap: Simulator) -> Iterator[StorageBackend]:
    """A driver, signed in."""
    opened = open_backend(ontap)
    yield opened
    opened.close()


@pytest.fixture
def furnished(ontap: Simulator) -> Iterator[StorageBackend]:
    furnish(ontap)
    backend = open_backend(ontap, timeout_s=1.0)
    yield backend
    backend.close()
