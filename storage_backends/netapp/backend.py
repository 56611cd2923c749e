"""A NetApp vserver as a storage system: each operation is carried out by the collaborator for its subject."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from storage_backends.base import ReconciledOutcome, StorageBackend
from storage_backends.configuration.options import NetappOptions
from storage_backends.errors import NotFound, NotSupported, StorageError
from storage_backends.journal import InMemoryJournal, Journal, JournalState
from storage_backends.models import ExportPolicy, Lock, Snapshot, Volume, VolumeSettings
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.lookups import all_records, find_volume
from storage_backends.netapp.ontap.queries import literal
from storage_backends.netapp.operations.export_policies import Exports
from storage_backends.netapp.operations.locks import Locks
from storage_backends.netapp.operations.snapshots import Snapshots
from storage_backends.netapp.operations.volume_creation import Creation
from storage_backends.netapp.operations.volumes import Volumes
from storage_backends.netapp.reconciliation.probes import Looks
from storage_backends.netapp.reconciliation.reconcile import Lost, settle


class NetappStorage(StorageBackend):
    """One vserver of a NetApp cluster, through ONTAP's REST interface (9.10.1 and later)."""

    def __init__(self, options: NetappOptions, name: str) -> None:
        self.name = name
        self._filer = Filer(options)
        self._volumes = Volumes(self._filer)
        self._creation = Creation(self._filer, self._volumes)
        self._snapshots = Snapshots(self._filer)
        self._locks = Locks(self._filer)
        self._exports = Exports(self._filer)
        self._looks = Looks(self._filer, self._creation, self._exports)

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
        self, volume: str, *, journal: Journal, from_volume: str, from_snapshot: str, junction_path: str | None = None
    ) -> Volume:
        return self._creation.clone(volume, journal, from_volume, from_snapshot, junction_path)

    def roll_back_volume(self, volume: str, *, journal: Journal, from_snapshot: str) -> Volume:
        return self._volumes.roll_back(volume, from_snapshot, journal)

    def update_volume(self, volume: str, *, journal: Journal, **settings: Unpack[VolumeSettings]) -> Volume:
        return self._volumes.update(volume, journal, **settings)

    def restrict_volume(self, volume: str, *, journal: Journal) -> None:
        self._volumes.restrict(volume, journal)

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
        find_volume(self._filer, volume, journal=journal)
        raise NotSupported("A NetApp filer's locks are its clients': they cannot be made from outside.")

    def remove_lock(self, volume: str, host: str, *, journal: Journal) -> None:
        self._locks.remove(volume, host, journal)

    # --- export policies

    def list_policies(self, *, journal: Journal) -> list[ExportPolicy]:
        return self._exports.list_all(journal)

    def get_policy(self, policy: str, *, journal: Journal) -> ExportPolicy:
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
        self, operation: str, arguments: Mapping[str, Any], trace: JournalState, *, journal: Journal
    ) -> ReconciledOutcome:
        return settle(self._filer, Lost(operation, arguments, trace, journal), self._looks.of(operation))

    def check(self) -> None:
        journal = InMemoryJournal("check")
        query = {"name": literal(self._filer.vserver)}
        try:
            found = all_records(self._filer, "/svm/svms", query, ("name", "state"), journal=journal)
        except NotFound as refusal:
            raise _unknown_vserver() from refusal
        if not any(record.get("name") == self._filer.vserver for record in found):
            raise _unknown_vserver()

    def close(self) -> None:
        self._filer.close()


def _unknown_vserver() -> StorageError:
    return StorageError("The storage system does not have the configured vserver, or the account does not see it.")
