"""What every driver must do, one class per subject; a driver's tests inherit the classes and give a fresh ``backend``.

``journal`` is a factory: one change is one job, so each call gets a journal of its own. A driver that cannot do
something says so by a class attribute. Nothing is assumed to exist but the export policy ``default``.
"""

from tests.storage_backends.conformance.exports import ExportConformance
from tests.storage_backends.conformance.locks import LockConformance
from tests.storage_backends.conformance.settling import SettleConformance
from tests.storage_backends.conformance.snapshots import SnapshotConformance
from tests.storage_backends.conformance.subject import MIB, Conformance, KilledJournal, NewJournal
from tests.storage_backends.conformance.volumes import VolumeConformance

__all__ = [
    "MIB",
    "Conformance",
    "ExportConformance",
    "KilledJournal",
    "LockConformance",
    "NewJournal",
    "SettleConformance",
    "SnapshotConformance",
    "VolumeConformance",
]
