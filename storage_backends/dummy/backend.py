"""DummyStorage: a storage system in one file, with the behaviour of the contract and of a filer."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Unpack

from storage_backends.base import ReconciledOutcome, StorageBackend
from storage_backends.configuration.options import DummyOptions
from storage_backends.dummy import applied_changes, locks, seed, snapshots, volumes
from storage_backends.dummy import export_policies as policies
from storage_backends.dummy import volume_rows as rows
from storage_backends.dummy.database import Database
from storage_backends.errors import BackendUnavailable
from storage_backends.journal import Journal, JournalState
from storage_backends.models import (
    CloneSettings,
    DetailedExportPolicy,
    ExportPolicy,
    Lock,
    Snapshot,
    Volume,
    VolumeSettings,
)

Read = TypeVar("Read")
Value = TypeVar("Value", bound=Volume | Snapshot | Lock | ExportPolicy | None)

#: How many volumes one page of a listing has at most; short listings are divided into about ten pages.
PAGE_SIZE = 500
DEFAULT_STATE_DIR = ".dev/state"


class DummyStorage(StorageBackend):
    """The reference implementation; see ``DummyOptions`` for its latencies, limits and fault switch.

    Its state is the file ``<state_dir>/<name>.sqlite3``, whichever processes and threads use it. A change is one
    transaction, in which the job's id is recorded too: repeated under the same id it returns what it returned, and
    once reconciled as not done it can never happen.
    """

    def __init__(self, options: DummyOptions, *, name: str) -> None:
        """Set the name of the state; opens nothing before the first call."""
        folder = options.state_dir or os.environ.get("SAPI_STATE_DIR") or DEFAULT_STATE_DIR
        self._options = options
        self._database = Database(Path(folder) / f"{name}.sqlite3", seed=self._seed, prune=applied_changes.prune)

    # --- volumes

    def list_volumes(self, *, journal: Journal) -> list[Volume]:
        self._start(journal)
        with self._database.reading() as db:
            total = rows.count(db)
        size = max(1, min(PAGE_SIZE, total // 10))
        pause_s = self._options.list_latency_s / max(1, -(-total // size))
        volumes: list[Volume] = []
        # Each page is read separately, as on a filer: a change meanwhile may or may not be included.
        while True:
            journal.wait(pause_s)
            with self._database.reading() as db:
                page = rows.page(db, volumes[-1].name if volumes else "", size + 1)
            volumes += page[:size]
            journal.progress(len(volumes), max(total, len(volumes)), "volumes", "listing")
            if len(page) <= size:
                return volumes

    def get_volume(self, volume: str, *, journal: Journal) -> Volume:
        return self._read(journal, lambda db: rows.find(db, volume))

    def create_volume(
        self,
        volume: str,
        *,
        journal: Journal,
        aggregate_name: str | None = None,
        junction_path: str | None = None,
        **settings: Unpack[VolumeSettings],
    ) -> Volume:
        return self._change(
            journal, "create_volume", lambda db: volumes.create(db, volume, aggregate_name, junction_path, settings)
        )

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
        return self._change(
            journal,
            "clone_volume",
            lambda db: volumes.clone(db, volume, from_volume, from_snapshot, junction_path, settings),
        )

    def roll_back_volume(self, volume: str, *, journal: Journal, from_snapshot: str) -> Volume:
        return self._change(journal, "roll_back_volume", lambda db: volumes.roll_back(db, volume, from_snapshot))

    def update_volume(self, volume: str, *, journal: Journal, **settings: Unpack[VolumeSettings]) -> Volume:
        return self._change(journal, "update_volume", lambda db: volumes.update(db, volume, settings))

    def restrict_volume(self, volume: str, *, journal: Journal) -> None:
        self._change(journal, "restrict_volume", lambda db: volumes.restrict(db, volume))

    def list_restricted_volumes(self, *, journal: Journal) -> list[Volume]:
        return self._read(journal, rows.list_restricted)

    def reinstate_volume(self, volume: str, *, journal: Journal, junction_path: str | None = None) -> Volume:
        return self._change(journal, "reinstate_volume", lambda db: volumes.reinstate(db, volume, junction_path))

    # --- snapshots

    def list_snapshots(self, volume: str, *, journal: Journal) -> list[Snapshot]:
        return self._read(journal, lambda db: snapshots.list_all(db, volume))

    def get_snapshot(self, volume: str, name: str, *, journal: Journal) -> Snapshot:
        return self._read(journal, lambda db: snapshots.find(db, volume, name))

    def create_snapshot(
        self, volume: str, name: str, *, journal: Journal, purge_old_if_needed: bool = False
    ) -> Snapshot:
        limit = self._options.snapshot_limit
        return self._change(
            journal,
            "create_snapshot",
            lambda db: snapshots.create(db, volume, name, limit=limit, purge=purge_old_if_needed),
        )

    def delete_snapshot(self, volume: str, name: str, *, journal: Journal) -> None:
        self._change(journal, "delete_snapshot", lambda db: snapshots.delete(db, volume, name))

    # --- locks

    def list_locks(self, volume: str, *, journal: Journal) -> list[Lock]:
        return self._read(journal, lambda db: locks.list_all(db, volume))

    def create_lock(self, volume: str, host: str, *, journal: Journal) -> Lock:
        return self._change(journal, "create_lock", lambda db: locks.create(db, volume, host))

    def remove_lock(self, volume: str, host: str, *, journal: Journal) -> None:
        self._change(journal, "remove_lock", lambda db: locks.remove(db, volume, host))

    # --- export policies

    def list_policies(self, *, journal: Journal) -> list[ExportPolicy]:
        return self._read(journal, policies.list_all)

    def get_policy(self, policy: str, *, journal: Journal) -> DetailedExportPolicy:
        return self._read(journal, lambda db: policies.find_detailed(db, policy))

    def create_policy(self, policy: str, *, journal: Journal, rules: list[str]) -> ExportPolicy:
        return self._change(journal, "create_policy", lambda db: policies.create(db, policy, rules))

    def delete_policy(self, policy: str, *, journal: Journal) -> None:
        self._change(journal, "delete_policy", lambda db: policies.delete(db, policy))

    def ensure_policy_rule_present(self, policy: str, rule: str, *, journal: Journal) -> ExportPolicy:
        return self._change(journal, "ensure_policy_rule_present", lambda db: policies.add_rule(db, policy, rule))

    def ensure_policy_rule_absent(self, policy: str, rule: str, *, journal: Journal) -> ExportPolicy:
        return self._change(journal, "ensure_policy_rule_absent", lambda db: policies.remove_rule(db, policy, rule))

    # --- what is not an operation

    def reconcile(
        self, operation: str, arguments: Mapping[str, Any], recorded: JournalState, *, journal: Journal
    ) -> ReconciledOutcome:
        self._start(journal)
        journal.wait(self._options.latency_s)
        with self._database.changing() as db:
            return applied_changes.reconcile(db, recorded.job_id, operation)

    def check(self) -> tuple[str, ...]:
        self._require_here()
        with self._database.reading() as db:
            rows.count(db)
        return ()

    def close(self) -> None:
        self._database.close()

    def _read(self, journal: Journal, look: Callable[[sqlite3.Connection], Read]) -> Read:
        self._start(journal)
        journal.wait(self._options.latency_s)
        with self._database.reading() as db:
            return look(db)

    def _change(self, journal: Journal, operation: str, change: Callable[[sqlite3.Connection], Value]) -> Value:
        self._start(journal)
        journal.record_intent(operation)
        # After the intent it cannot be cancelled any more; a worker that has lost the job stops here.
        journal.wait(self._options.latency_s)
        with self._database.changing() as db:
            return applied_changes.apply_once(db, journal.job_id, operation, change)

    def _start(self, journal: Journal) -> None:
        journal.checkpoint()
        self._require_here()

    def _require_here(self) -> None:
        away_file = self._options.away_file
        if away_file and Path(away_file).exists():
            raise BackendUnavailable("the dummy is away")

    def _seed(self, db: sqlite3.Connection) -> None:
        seed.seed(db, self._options.volumes)
