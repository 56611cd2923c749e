"""Records what each job has changed, in the change's transaction: done at most once, and never after reconciliation."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from storage_backends.base import Outcome, ReconciledOutcome
from storage_backends.errors import StorageError
from storage_backends.journal import LeaseLost
from storage_backends.models import ExportPolicy, Lock, Snapshot, Volume

Value = TypeVar("Value", bound=Volume | Snapshot | Lock | ExportPolicy | None)

#: How long records are kept.
KEPT_S = 30 * 24 * 3600.0


def apply_once(
    db: sqlite3.Connection, job_id: str, operation: str, change: Callable[[sqlite3.Connection], Value]
) -> Value:
    """Execute ``change`` and record its result; if the job has done it before, return the recorded result.

    Raises:
        LeaseLost: the job was reconciled meanwhile as not done, so it must not be done any more.
        StorageError: ``change`` was refused (which leaves no record), or the job id was used for another operation.
    """
    row = db.execute("SELECT operation, applied, value FROM effects WHERE job_id = ?", (job_id,)).fetchone()
    if row is None:
        value = change(db)
        _record(db, job_id, operation, applied=True, value=_to_json(value))
        return value
    recorded, applied, value_json = row
    if not applied:
        raise LeaseLost
    if recorded != operation:
        raise StorageError("this job has already made another change")
    done: Value = _from_json(value_json)
    return done


def reconcile(db: sqlite3.Connection, job_id: str, operation: str) -> ReconciledOutcome:
    """Return whether the job's change was made; if not, prevent it from being made later."""
    row = db.execute("SELECT applied, value FROM effects WHERE job_id = ?", (job_id,)).fetchone()
    if row is None:
        _record(db, job_id, operation, applied=False, value=None)
    elif row[0]:
        return ReconciledOutcome(Outcome.DONE, _from_json(row[1]))
    return ReconciledOutcome(Outcome.NOT_DONE)


def prune(db: sqlite3.Connection) -> None:
    """Delete records that are too old to be needed."""
    db.execute("DELETE FROM effects WHERE at < ?", (time.time() - KEPT_S,))


def _record(db: sqlite3.Connection, job_id: str, operation: str, *, applied: bool, value: str | None) -> None:
    db.execute("INSERT INTO effects VALUES (?, ?, ?, ?, ?)", (job_id, operation, applied, value, time.time()))


def _to_json(value: Volume | Snapshot | Lock | ExportPolicy | None) -> str | None:
    return None if value is None else json.dumps([type(value).__name__, asdict(value)])


def _from_json(text: str | None) -> Any:
    if text is None:
        return None
    kind, fields = json.loads(text)
    match kind:
        case "ExportPolicy":
            return ExportPolicy(fields["name"], tuple(fields["rules"]))
        case "Lock":
            return Lock(**fields)
        case "Snapshot":
            return Snapshot(**fields)
        case _:
            return Volume(**fields)
