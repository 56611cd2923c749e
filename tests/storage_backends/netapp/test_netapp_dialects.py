"""The driver does what every driver must do on filers that speak otherwise than the simulator of the other tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from storage_backends.base import Outcome, StorageBackend
from storage_backends.errors import OutcomeUnclear, StorageError
from storage_backends.journal import InMemoryJournal
from tests.ontap_simulator import DIALECTS, Dialect, Kind, Simulator
from tests.storage_backends.conformance import (
    Conformance,
    ExportConformance,
    SettleConformance,
    SnapshotConformance,
    VolumeConformance,
)
from tests.storage_backends.netapp.changes import CHANGES, STEPS, furnish, repeated, sent_twice
from tests.storage_backends.netapp.opening import open_backend


@pytest.fixture(params=list(DIALECTS))
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


class _InDialects(Conformance):
    can_lock = False
    snapshot_limit = 3

    @pytest.fixture
    def backend(self, ontap: Simulator) -> Iterator[StorageBackend]:
        ontap.world.snapshot_limit = 3
        opened = open_backend(ontap)
        yield opened
        opened.close()


class TestVolumes(_InDialects, VolumeConformance):
    pass


class _InTwoDialects(_InDialects):
    @pytest.fixture(params=["terse", "at once"])
    def dialect(self, request: pytest.FixtureRequest) -> Dialect:
        return DIALECTS[request.param]


class TestSnapshots(_InTwoDialects, SnapshotConformance):
    pass


class TestExports(_InTwoDialects, ExportConformance):
    pass


class TestSettling(_InDialects, SettleConformance):
    pass


def run(backend: StorageBackend, name: str) -> tuple[StorageError | None, InMemoryJournal]:
    operation, arguments = CHANGES[name]
    journal = InMemoryJournal("0199-job")
    try:
        getattr(backend, operation)(**arguments, journal=journal)
    except StorageError as error:
        return error, journal
    return None, journal


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_made_once(change: str, ontap: Simulator) -> None:
    furnish(ontap)

    error, _ = run(open_backend(ontap), change)

    assert error is None
    assert len(ontap.world.effects) == (2 if change == "purge" else STEPS.get(change, 1))
    assert repeated(ontap) == []


@pytest.mark.parametrize("fault", [Kind.DROP, Kind.TRUNCATE])
@pytest.mark.parametrize("change", ["create", "roll back", "update", "remove rule"])
def test_an_answer_that_never_comes_is_found_out(change: str, fault: Kind, ontap: Simulator) -> None:
    furnish(ontap)
    ontap.fault(fault, method="POST|PATCH|DELETE")
    backend = open_backend(ontap, timeout_s=0.4)

    error, journal = run(backend, change)

    if error is not None:
        assert isinstance(error, OutcomeUnclear)
        operation, arguments = CHANGES[change]
        found: Any = backend.reconcile(operation, arguments, journal.trace(age_s=3600.0), journal=journal)
        assert found.outcome is (Outcome.DONE if ontap.world.effects else Outcome.NOT_DONE)
    assert len(ontap.world.effects) == (0 if fault is Kind.DROP else 1)
    assert sent_twice(ontap) == []


def test_the_node_of_a_volume_is_always_known(ontap: Simulator) -> None:
    for number in range(5):
        ontap.world.add_volume(f"v{number}", aggregate="aggr2_n2")
    backend = open_backend(ontap)

    listed = backend.list_volumes(journal=InMemoryJournal())

    assert [volume.filer_address for volume in listed] == ["node2"] * 5
    assert backend.get_volume("v1", journal=InMemoryJournal()).filer_address == "node2"
    assert all("T" in (volume.creation_time or "") for volume in listed)
