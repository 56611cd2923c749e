"""Locks: one host holds a volume at a time; within the caller's transaction."""

from __future__ import annotations

import sqlite3

from storage_backends.dummy import volume_rows as records
from storage_backends.errors import LockHeld
from storage_backends.models import Lock


def listed(db: sqlite3.Connection, volume: str) -> list[Lock]:
    """Return who holds the volume."""
    name = records.find(db, volume).name
    return [Lock(host) for (host,) in db.execute("SELECT host FROM locks WHERE volume = ?", (name,))]


def create(db: sqlite3.Connection, volume: str, host: str) -> Lock:
    """Lock the volume for a host; the same host again succeeds."""
    name = records.find(db, volume).name
    for holder in listed(db, name):
        if holder.host != host:
            raise LockHeld(f"volume {name} is locked by {holder.host}")
        return holder
    db.execute("INSERT INTO locks (volume, host) VALUES (?, ?)", (name, host))
    return Lock(host)


def remove(db: sqlite3.Connection, volume: str, host: str) -> None:
    """Break the lock of a host, if it holds it."""
    name = records.find(db, volume).name
    db.execute("DELETE FROM locks WHERE volume = ? AND host = ?", (name, host))
