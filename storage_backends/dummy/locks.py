"""Locks: one host at a time can lock a volume; within the caller's transaction."""

from __future__ import annotations

import sqlite3

from storage_backends.client_matches import canonical_host
from storage_backends.dummy import volume_rows as rows
from storage_backends.errors import LockHeld
from storage_backends.models import Lock


def list_all(db: sqlite3.Connection, volume: str) -> list[Lock]:
    """Return the host that has locked the volume, if any."""
    name = rows.find(db, volume).name
    return [Lock(host) for (host,) in db.execute("SELECT host FROM locks WHERE volume = ?", (name,))]


def create(db: sqlite3.Connection, volume: str, host: str) -> Lock:
    """Lock the volume for a host; the same host again succeeds, in any spelling."""
    name, host = rows.find_data_volume(db, volume).name, canonical_host(host)
    for holder in list_all(db, name):
        if holder.host != host:
            raise LockHeld(f"volume {name} is locked by {holder.host}")
        return holder
    db.execute("INSERT INTO locks (volume, host) VALUES (?, ?)", (name, host))
    return Lock(host)


def remove(db: sqlite3.Connection, volume: str, host: str) -> None:
    """Break the lock of a host, if it holds it."""
    name = rows.find_data_volume(db, volume).name
    db.execute("DELETE FROM locks WHERE volume = ? AND host = ?", (name, canonical_host(host)))
