"""How each operation is recognised on the filer after the fact; harmless steps that are missing are completed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from storage_backends.base import ReconciledOutcome
from storage_backends.errors import (
    AlreadyExists,
    BackendTimeout,
    BackendUnavailable,
    NotFound,
    OutcomeUnclear,
    StorageError,
)
from storage_backends.models import Volume
from storage_backends.netapp.ontap import mapping as records
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.jobs import End
from storage_backends.netapp.ontap.lookups import volume_by_uuid, volumes_where
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.export_policies import Exports
from storage_backends.netapp.operations.locks import Locks
from storage_backends.netapp.operations.mutation import Change
from storage_backends.netapp.operations.snapshots import Snapshots, snapshots_named, snapshots_of
from storage_backends.netapp.operations.volume_creation import Creation, marker
from storage_backends.netapp.operations.volume_patch import changes
from storage_backends.netapp.reconciliation.reconcile import DONE, NOT_DONE, UNKNOWN, Look, Lost, adopt


class Looks:
    """One look per operation, by the operation's name."""

    def __init__(self, filer: Filer, creation: Creation, exports: Exports) -> None:
        self._filer, self._creation, self._exports = filer, creation, exports
        self._volumes = creation.volumes
        self._snapshots, self._locks = Snapshots(filer), Locks(filer)

    def of(self, operation: str) -> Look:
        """The look that recognises an operation."""
        looks: Mapping[str, Look] = {
            "create_volume": self._created,
            "clone_volume": self._cloned,
            "update_volume": self._updated,
            "roll_back_volume": self._rolled_back,
            "restrict_volume": self._restricted,
            "create_snapshot": self._snapshot_made,
            "delete_snapshot": self._snapshot_deleted,
            "remove_lock": self._lock_removed,
            "create_policy": self._policy_made,
            "delete_policy": self._policy_deleted,
            "ensure_policy_rule_present": self._rule_there,
            "ensure_policy_rule_absent": self._rule_gone,
        }
        return looks[operation]

    def _completed(self, lost: Lost, complete: Callable[[Change], Any]) -> ReconciledOutcome:
        """Carry out what is still missing; a refusal of it ends the job, and reads tell what was done before."""
        change = self._volumes.change(lost.journal)
        change.begun = True
        try:
            return ReconciledOutcome(DONE, complete(change))
        except (BackendUnavailable, BackendTimeout, OutcomeUnclear):
            raise
        except StorageError as refusal:
            return ReconciledOutcome(NOT_DONE, error=refusal)

    def _record(self, lost: Lost) -> Json:
        return volume_by_uuid(self._filer, lost.fact("volume_uuid"), journal=lost.journal)

    # --- volumes

    def _created(self, lost: Lost) -> ReconciledOutcome:
        name = lost.arguments["volume"]
        settings: Any = lost.settings

        def finish(change: Change) -> Volume:
            return self._creation.finish(change, name, settings)

        for record in volumes_where(self._filer, "name", name, journal=lost.journal):
            if lost.arrived or record.get("comment") == marker(lost.trace.job_id):
                return self._completed(lost, finish)
            if not record.get("comment") and _path_of(record) == lost.arguments.get("junction_path", "").lower():
                return ReconciledOutcome(
                    UNKNOWN
                )  # Ours, if the filer keeps no comments: it was not there before we sent.
            return ReconciledOutcome(NOT_DONE, error=AlreadyExists("There is a volume of that name already."))
        return ReconciledOutcome(NOT_DONE)

    def _cloned(self, lost: Lost) -> ReconciledOutcome:
        name = lost.arguments["volume"]
        found = volumes_where(self._filer, "name", name, journal=lost.journal, fields=records.CLONE_FIELDS)
        for record in found:
            # It was not there before our request was sent, and it is a copy of the same volume: it is ours.
            parent = (record.get("clone") or {}).get("parent_volume") or {}
            if not lost.arrived and lost.fact("parent_uuid") != parent.get("uuid"):
                return ReconciledOutcome(NOT_DONE, error=AlreadyExists("There is a volume of that name already."))
            return ReconciledOutcome(DONE, self._volumes.shown(record, lost.journal))
        return ReconciledOutcome(NOT_DONE)

    def _updated(self, lost: Lost) -> ReconciledOutcome:
        record = self._record(lost)
        settings: Any = lost.settings
        if lost.trace.step == "configure" and not lost.arrived and changes(record, settings):
            return ReconciledOutcome(NOT_DONE)
        caching: Any = {name: value for name, value in settings.items() if name == "caching_policy"}
        if caching.get("caching_policy") in {None, records.volume(record).caching_policy}:
            return ReconciledOutcome(DONE, self._volumes.shown(record, lost.journal))
        if lost.trace.step == "caching-policy" and settings == caching:
            is_told = records.volume(record).caching_policy is not None
            return ReconciledOutcome(NOT_DONE if is_told else UNKNOWN)

        def set_caching(change: Change) -> Volume:
            self._volumes.apply(change, record, caching)
            return self._volumes.reread(change, record["uuid"])

        return self._completed(lost, set_caching)

    def _rolled_back(self, lost: Lost) -> ReconciledOutcome:
        """Never repeated. Later snapshots go with a roll-back: one that was there before tells whether it happened."""
        record = self._record(lost)
        if not lost.arrived and lost.job is None:
            lost = adopt(self._filer, lost)
        if lost.job and lost.job.end is End.FAILURE:
            return ReconciledOutcome(NOT_DONE, error=lost.job.error)
        if lost.arrived:
            return ReconciledOutcome(DONE, self._volumes.shown(record, lost.journal))
        later = lost.fact("later_uuid")
        if not later:
            return ReconciledOutcome(UNKNOWN)
        there = {found["uuid"] for found in snapshots_of(self._filer, record["uuid"], journal=lost.journal)}
        return (
            ReconciledOutcome(NOT_DONE)
            if later in there
            else ReconciledOutcome(DONE, self._volumes.shown(record, lost.journal))
        )

    def _restricted(self, lost: Lost) -> ReconciledOutcome:
        record = self._record(lost)
        if record.get("state") == "restricted":
            return ReconciledOutcome(DONE)
        is_mounted = bool((record.get("nas") or {}).get("path"))
        if is_mounted or (lost.trace.step == "restrict" and not lost.fact("unmounted")):
            return ReconciledOutcome(NOT_DONE)
        return self._completed(lost, lambda change: self._volumes.take_out(change, record))

    # --- snapshots

    def _snapshot_made(self, lost: Lost) -> ReconciledOutcome:
        uuid, name = lost.fact("volume_uuid"), lost.arguments["name"]
        if lost.refused_for_room:
            return self._completed(lost, lambda change: self._snapshots.purge_and_create(change, uuid, name))
        for record in snapshots_named(self._filer, uuid, name, journal=lost.journal):
            ours = record.get("comment") == marker(lost.trace.job_id)
            if ours or (lost.arrived and lost.trace.step != "purge"):
                return ReconciledOutcome(DONE, records.snapshot(record))
            return ReconciledOutcome(NOT_DONE, error=AlreadyExists("The volume has a snapshot of that name already."))
        if lost.trace.step == "purge" and not self._is_there(lost):
            return self._completed(lost, lambda change: self._snapshots.create_after_purge(change, uuid, name))
        return ReconciledOutcome(NOT_DONE)

    def _snapshot_deleted(self, lost: Lost) -> ReconciledOutcome:
        return ReconciledOutcome(NOT_DONE) if self._is_there(lost) else ReconciledOutcome(DONE)

    def _is_there(self, lost: Lost) -> bool:
        found = snapshots_of(self._filer, lost.fact("volume_uuid"), journal=lost.journal)
        return lost.fact("snapshot_uuid") in {record["uuid"] for record in found}

    # --- locks

    def _lock_removed(self, lost: Lost) -> ReconciledOutcome:
        """Breaking locks again is harmless: each is named by its uuid."""
        host, uuid = lost.arguments["host"], lost.fact("volume_uuid")
        return self._completed(lost, lambda change: self._locks.break_all(change, uuid, host))

    # --- export policies

    def _policy_made(self, lost: Lost) -> ReconciledOutcome:
        try:
            policy = self._exports.get(lost.arguments["policy"], lost.journal)
        except NotFound:
            return ReconciledOutcome(NOT_DONE)
        # It was not there before our request was sent. With other rules it is somebody else's, or changed since.
        ours = policy.rules == tuple(dict.fromkeys(lost.arguments["rules"]))
        return ReconciledOutcome(DONE, policy) if ours else ReconciledOutcome(UNKNOWN)

    def _policy_deleted(self, lost: Lost) -> ReconciledOutcome:
        try:
            number = self._exports.id_of(lost.arguments["policy"], lost.journal)
        except NotFound:
            return ReconciledOutcome(DONE)
        return ReconciledOutcome(NOT_DONE) if str(number) == lost.fact("policy_id") else ReconciledOutcome(DONE)

    def _rule_there(self, lost: Lost) -> ReconciledOutcome:
        policy = self._exports.get(lost.arguments["policy"], lost.journal)
        return (
            ReconciledOutcome(DONE, policy) if lost.arguments["rule"] in policy.rules else ReconciledOutcome(NOT_DONE)
        )

    def _rule_gone(self, lost: Lost) -> ReconciledOutcome:
        policy = self._exports.get(lost.arguments["policy"], lost.journal)
        return (
            ReconciledOutcome(NOT_DONE) if lost.arguments["rule"] in policy.rules else ReconciledOutcome(DONE, policy)
        )


def _path_of(record: Json) -> str:
    return ((record.get("nas") or {}).get("path") or "").lower()
