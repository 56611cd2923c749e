"""A NetApp SVM as a storage system: delegates each operation to the class for its kind of object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from storage_backends.base import ReconciledOutcome, StorageBackend
from storage_backends.configuration.options import NetappOptions
from storage_backends.errors import NotSupported
from storage_backends.journal import InMemoryJournal, Journal, JournalState
from storage_backends.login_guard import LoginGuard
from storage_backends.models import (
    CloneSettings,
    DetailedExportPolicy,
    ExportPolicy,
    Lock,
    Snapshot,
    Volume,
    VolumeSettings,
)
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.lookups import find_volume, require_svm
from storage_backends.netapp.ontap.ontap_release import Release
from storage_backends.netapp.operations.export_policies import ExportPolicies
from storage_backends.netapp.operations.locks import Locks
from storage_backends.netapp.operations.snapshots import Snapshots
from storage_backends.netapp.operations.volume_creation import Creation
from storage_backends.netapp.operations.volumes import Volumes
from storage_backends.netapp.reconciliation.probes import OutcomeProbes
from storage_backends.netapp.reconciliation.reconcile import InDoubtChange, reconcile


class NetappStorage(StorageBackend):
    """One SVM of a NetApp cluster, through ONTAP's REST interface (9.10.1 and later)."""

    signs_in: ClassVar[bool] = True

    def __init__(self, options: NetappOptions, name: str, login_guard: LoginGuard | None = None) -> None:
        """Set up the client; sends nothing yet. ``login_guard`` is shared by all users of the same account."""
        self.name = name
        self._client = OntapClient(options, login_guard or LoginGuard())
        self._release = Release(self._client)
        self._volumes = Volumes(self._client)
        self._creation = Creation(self._client, self._volumes)
        self._snapshots = Snapshots(self._client)
        self._locks = Locks(self._client)
        self._exports = ExportPolicies(self._client)
        self._probes = OutcomeProbes(self._client, self._creation, self._exports)

    def __repr__(self) -> str:
        return f"NetappStorage(name={self.name!r})"

    # --- volumes

    def list_volumes(self, *, journal: Journal) -> list[Volume]:
        return self._volumes.list_all(journal)

    def get_volume(self, volume: str, *, journal: Journal) -> Volume:
        return self._volumes.get(volume, journal)

    def create_volume(
        self,
        volume: str,
        *,
        journal: Journal,
        aggregate_name: str | None = None,
        junction_path: str | None = None,
        **settings: Unpack[VolumeSettings],
    ) -> Volume:
        return self._creation.create(volume, journal, aggregate_name, junction_path, **settings)

    def clone_volume(
        self,
        volume: str,
        *,
        journal: Journal,
        from_volume: str,
        from_snapshot: str,
        junction_path: str | None = None,
        **settings: Unpack[CloneSettings],
    ) -> Volume:
        return self._creation.clone(volume, journal, from_volume, from_snapshot, junction_path, **settings)

    def roll_back_volume(self, volume: str, *, journal: Journal, from_snapshot: str) -> Volume:
        return self._volumes.roll_back(volume, from_snapshot, journal)

    def update_volume(self, volume: str, *, journal: Journal, **settings: Unpack[VolumeSettings]) -> Volume:
        return self._volumes.update(volume, journal, **settings)

    def restrict_volume(self, volume: str, *, journal: Journal) -> None:
        self._volumes.restrict(volume, journal)

    def list_restricted_volumes(self, *, journal: Journal) -> list[Volume]:
        return self._volumes.list_restricted(journal)

    def reinstate_volume(self, volume: str, *, journal: Journal, junction_path: str | None = None) -> Volume:
        return self._volumes.reinstate(volume, journal, junction_path)

    # --- snapshots

    def list_snapshots(self, volume: str, *, journal: Journal) -> list[Snapshot]:
        return self._snapshots.list_all(volume, journal)

    def get_snapshot(self, volume: str, name: str, *, journal: Journal) -> Snapshot:
        return self._snapshots.get(volume, name, journal)

    def create_snapshot(
        self, volume: str, name: str, *, journal: Journal, purge_old_if_needed: bool = False
    ) -> Snapshot:
        return self._snapshots.create(volume, name, journal, purge_old_if_needed=purge_old_if_needed)

    def delete_snapshot(self, volume: str, name: str, *, journal: Journal) -> None:
        self._snapshots.delete(volume, name, journal)

    # --- locks

    def list_locks(self, volume: str, *, journal: Journal) -> list[Lock]:
        return self._locks.list_all(volume, journal)

    def create_lock(self, volume: str, host: str, *, journal: Journal) -> Lock:
        find_volume(self._client, volume, journal=journal)
        raise NotSupported("A NetApp filer's locks are its clients': they cannot be made from outside.")

    def remove_lock(self, volume: str, host: str, *, journal: Journal) -> None:
        self._locks.remove(volume, host, journal)

    # --- export policies

    def list_policies(self, *, journal: Journal) -> list[ExportPolicy]:
        return self._exports.list_all(journal)

    def get_policy(self, policy: str, *, journal: Journal) -> DetailedExportPolicy:
        return self._exports.get(policy, journal)

    def create_policy(self, policy: str, *, journal: Journal, rules: list[str]) -> ExportPolicy:
        return self._exports.create(policy, rules, journal)

    def delete_policy(self, policy: str, *, journal: Journal) -> None:
        self._exports.delete(policy, journal)

    def ensure_policy_rule_present(self, policy: str, rule: str, *, journal: Journal) -> ExportPolicy:
        return self._exports.add_rule(policy, rule, journal)

    def ensure_policy_rule_absent(self, policy: str, rule: str, *, journal: Journal) -> ExportPolicy:
        return self._exports.remove_rule(policy, rule, journal)

    # --- what is not an operation

    def reconcile(
        self, operation: str, arguments: Mapping[str, Any], recorded: JournalState, *, journal: Journal
    ) -> ReconciledOutcome:
        return reconcile(
            self._client, InDoubtChange(operation, arguments, recorded, journal), self._probes.of(operation)
        )

    def check(self) -> tuple[str, ...]:
        journal = InMemoryJournal("check")
        self._release.require_supported(journal)
        require_svm(self._client, journal=journal)
        unknown = sorted(self._client.unknown_fields)
        return (f"The storage system does not know {', '.join(unknown)}: shown as null.",) if unknown else ()

    def close(self) -> None:
        self._client.close()
