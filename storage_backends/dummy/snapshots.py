"""Snapshots: each holds a copy of its volume's record; within the caller's transaction."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

from storage_backends.dummy import volume_rows as rows
from storage_backends.errors import AlreadyExists, NoSuchSnapshot, TooManySnapshots
from storage_backends.models import Snapshot, Volume

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def list_all(db: sqlite3.Connection, volume: str) -> list[Snapshot]:
    """Return the snapshots of a volume, oldest first."""
    name = rows.find(db, volume).name
    cursor = db.execute(
        "SELECT name, creation_time, size_kbytes FROM snapshots WHERE volume = ? ORDER BY number", (name,)
    )
    return [Snapshot(*row) for row in cursor]


def find(db: sqlite3.Connection, volume: str, name: str) -> Snapshot:
    """Return one snapshot."""
    owner = rows.find(db, volume).name
    row = db.execute(
        "SELECT name, creation_time, size_kbytes FROM snapshots WHERE volume = ? AND name = ?", (owner, name)
    ).fetchone()
    if row is None:
        raise _missing(owner, name)
    return Snapshot(*row)


def create(db: sqlite3.Connection, volume: str, name: str, *, limit: int, purge: bool) -> Snapshot:
    """Copy the volume's record under a name; with ``purge`` the oldest are deleted when the limit is reached."""
    present = rows.find_data_volume(db, volume)
    existing = list_all(db, present.name)
    if any(snapshot.name == name for snapshot in existing):
        raise AlreadyExists(f"volume {present.name} already has a snapshot {name}")
    surplus = len(existing) + 1 - limit
    if surplus > 0 and not (purge and limit > 0):
        raise TooManySnapshots(f"volume {present.name} has {len(existing)} snapshots, and {limit} are allowed")
    for oldest in existing[: max(0, surplus)]:
        db.execute("DELETE FROM snapshots WHERE volume = ? AND name = ?", (present.name, oldest.name))
    last = existing[-1].creation_time if existing else None
    snapshot = Snapshot(name, _time_after(last), _size_kbytes(present))
    db.execute(
        "INSERT INTO snapshots (volume, name, creation_time, size_kbytes, record) VALUES (?, ?, ?, ?, ?)",
        (present.name, name, snapshot.creation_time, snapshot.size_kbytes, rows.to_json(present)),
    )
    return snapshot


def delete(db: sqlite3.Connection, volume: str, name: str) -> None:
    """Delete one snapshot."""
    owner = rows.find_data_volume(db, volume).name
    if db.execute("DELETE FROM snapshots WHERE volume = ? AND name = ?", (owner, name)).rowcount == 0:
        raise _missing(owner, name)


def volume_at(db: sqlite3.Connection, volume_name: str, name: str) -> Volume:
    """Return the volume as it was when the snapshot was made."""
    row = db.execute("SELECT record FROM snapshots WHERE volume = ? AND name = ?", (volume_name, name)).fetchone()
    if row is None:
        raise _missing(volume_name, name)
    return rows.from_json(row[0])


def drop_later(db: sqlite3.Connection, volume_name: str, name: str) -> None:
    """Delete the snapshots that were made after the named one."""
    db.execute(
        "DELETE FROM snapshots WHERE volume = :volume"
        " AND number > (SELECT number FROM snapshots WHERE volume = :volume AND name = :name)",
        {"volume": volume_name, "name": name},
    )


def _missing(volume: str, name: str) -> NoSuchSnapshot:
    return NoSuchSnapshot(f"volume {volume} has no snapshot {name}")


def _time_after(last: str | None) -> str:
    """Return the current time, or one just after ``last`` if the clock was set back."""
    now = datetime.now(UTC)
    if last is not None:
        now = max(now, datetime.strptime(last, _TIME).replace(tzinfo=UTC) + timedelta(microseconds=1))
    return now.strftime(_TIME)


def _size_kbytes(volume: Volume) -> int:
    # A new snapshot shares most blocks with its volume: about one in fifty is its own.
    return 140 + (volume.size_used or 0) // 50 // 1024
