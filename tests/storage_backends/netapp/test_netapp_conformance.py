"""The NetApp driver does what every driver must do, on the simulated filer."""

from __future__ import annotations

from typing import ClassVar

import pytest

from storage_backends.base import StorageBackend
from tests.ontap_simulator import Simulator
from tests.storage_backends.conformance import (
    Conformance,
    ExportConformance,
    LockConformance,
    SettleConformance,
    SnapshotConformance,
    VolumeConformance,
)
from tests.storage_backends.netapp.signed_in_drivers import open_backend


class _OnSimulator(Conformance):
    can_lock: ClassVar[bool] = False
    snapshot_limit: ClassVar[int | None] = 3

    @pytest.fixture
    def backend(self, ontap: Simulator) -> StorageBackend:
        ontap.world.snapshot_limit = 3
        # Objects of the same name in another vserver must never be read or changed.
        foreign = ontap.world.add_volume("home", svm="vs2", nas={"path": "/users/home"})
        ontap.world.add_snapshot(foreign, "before")
        ontap.world.add_policy("vs2", "team", [["a"]])
        return open_backend(ontap)


class TestNetappVolumes(_OnSimulator, VolumeConformance):
    pass


class TestNetappSnapshots(_OnSimulator, SnapshotConformance):
    pass


class TestNetappLocks(_OnSimulator, LockConformance):
    pass


class TestNetappExports(_OnSimulator, ExportConformance):
    pass


class TestNetappSettle(_OnSimulator, SettleConformance):
    pass
