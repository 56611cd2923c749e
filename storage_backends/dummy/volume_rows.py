"""Volumes as rows: look-ups by name or path, pages, writes; restricted ones are excluded."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import fields

from storage_backends.errors import AlreadyExists, NoSuchVolume, NotADataVolume
from storage_backends.models import Volume, junction_key, parse_reference

_FIELDS = tuple(field.name for field in fields(Volume))
_INSERT = "INSERT INTO volumes (name, live, junction, policy, record) VALUES (?, ?, ?, ?, ?)"


def to_json(volume: Volume) -> str:
    """Return a volume as JSON; unknown fields are left out."""
    return json.dumps({name: value for name in _FIELDS if (value := getattr(volume, name)) is not None})


def from_json(text: str) -> Volume:
    """Return the volume that ``to_json`` wrote."""
    return Volume(**json.loads(text))


def find(db: sqlite3.Connection, volume: str) -> Volume:
    """Return the volume of that name, or at the path of ``node:/junction/path``, whatever the node.

    Raises:
        NoSuchVolume: there is none, or it is restricted.
    """
    path = parse_reference(volume)
    if path is None:
        row = db.execute("SELECT record FROM volumes WHERE live AND name = ?", (volume,)).fetchone()
    else:
        key = junction_key(path.junction_path)
        row = db.execute("SELECT record FROM volumes WHERE live AND junction = ?", (key,)).fetchone()
    if row is None:
        raise NoSuchVolume(f"there is no volume {volume}")
    return from_json(row[0])


def find_data_volume(db: sqlite3.Connection, volume: str) -> Volume:
    """Return the volume that is about to be changed.

    Raises:
        NoSuchVolume: there is none, or it is restricted.
        NotADataVolume: it is a copy.
    """
    record = find(db, volume)
    if record.type in {"dp", "ls"}:
        raise NotADataVolume(f"volume {record.name} is of type {record.type}: it cannot be changed")
    return record


def find_restricted(db: sqlite3.Connection, name: str) -> Volume:
    """Return the restricted volume of that name.

    Raises:
        NoSuchVolume: there is none.
    """
    row = db.execute("SELECT record FROM volumes WHERE NOT live AND name = ?", (name,)).fetchone()
    if row is None:
        raise NoSuchVolume(f"there is no restricted volume {name}")
    return from_json(row[0])


def list_restricted(db: sqlite3.Connection) -> list[Volume]:
    """Return every restricted volume, in order of name."""
    return [from_json(text) for (text,) in db.execute("SELECT record FROM volumes WHERE NOT live ORDER BY name")]


def count(db: sqlite3.Connection) -> int:
    """Return how many volumes can be seen."""
    (number,) = db.execute("SELECT count(*) FROM volumes WHERE live").fetchone()
    return int(number)


def page(db: sqlite3.Connection, after: str, size: int) -> list[Volume]:
    """Return at most ``size`` volumes in order of name, from the first whose name is greater than ``after``."""
    rows = db.execute("SELECT record FROM volumes WHERE live AND name > ? ORDER BY name LIMIT ?", (after, size))
    # One parse per page is much cheaper than one per record.
    return [Volume(**record) for record in json.loads(f"[{','.join(record for (record,) in rows)}]")]


def insert(db: sqlite3.Connection, volume: Volume) -> None:
    """Write a new volume; its name and path must be free."""
    db.execute(_INSERT, _row(volume))


def insert_many(db: sqlite3.Connection, volumes: Iterable[Volume]) -> None:
    """Write many new volumes."""
    db.executemany(_INSERT, map(_row, volumes))


def replace(db: sqlite3.Connection, volume: Volume) -> None:
    """Overwrite an existing volume."""
    name, *rest = _row(volume)
    db.execute("UPDATE volumes SET live = ?, junction = ?, policy = ?, record = ? WHERE name = ?", (*rest, name))


def require_free_name(db: sqlite3.Connection, name: str) -> None:
    """Raise AlreadyExists when a volume has the name; a restricted one keeps it."""
    if db.execute("SELECT 1 FROM volumes WHERE name = ?", (name,)).fetchone():
        raise AlreadyExists(f"there is already a volume {name}")


def is_free_junction(db: sqlite3.Connection, junction_path: str) -> bool:
    """Return whether no volume is mounted there; paths are compared without regard to case."""
    key = junction_key(junction_path)
    return not db.execute("SELECT 1 FROM volumes WHERE live AND junction = ?", (key,)).fetchone()


def uses_policy(db: sqlite3.Connection, policy: str) -> bool:
    """Return whether a volume in service uses the policy."""
    return bool(db.execute("SELECT 1 FROM volumes WHERE live AND policy = ? LIMIT 1", (policy,)).fetchone())


def _row(volume: Volume) -> tuple[str, bool, str | None, str | None, str]:
    junction = None if volume.junction_path is None else junction_key(volume.junction_path)
    live = volume.state != "restricted"
    return volume.name, live, junction, volume.active_policy_name, to_json(volume)
